"""What was done with each run, printed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from headrace.engines.contract import Acted


def show(acted: "Sequence[Acted]", *, as_json: bool) -> None:
    if as_json:
        from headrace.core.records import encode

        typer.echo(encode({"schema": 1, "runs": acted}).decode())
        return
    for one in acted:
        typer.echo(f"{one.id} {one.text}", err=True)
