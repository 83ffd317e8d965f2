"""What was done with each run, printed."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from headrace.engines.contract import Acted


def show(acted: "Sequence[Acted]", *, as_json: bool) -> None:
    if as_json:
        from headrace.core.records import encode

        typer.echo(encode({"schema": 1, "runs": acted}).decode())
        return
    for line in lines(acted):
        typer.echo(line, err=True)


def lines(acted: "Sequence[Acted]") -> Iterator[str]:
    """One a run; elements of an array with which the same was done share one."""
    for (family, text), group in groupby(acted, lambda one: (_family(one.id), one.text)):
        ids = [one.id for one in group]
        elements = [int(one.rpartition("_")[2]) for one in ids if family]
        if len(elements) > 1 and elements == list(range(elements[0], elements[-1] + 1)):
            yield f"{family}_[{elements[0]}-{elements[-1]}] {text}"
        else:
            yield from (f"{one} {text}" for one in ids)


def _family(run_id: str) -> str:
    """What the elements of an array have in common; "" for a run of its own."""
    found = re.fullmatch(r"(.+-\d+)_\d+", run_id, re.ASCII)
    return found[1] if found else ""
