"""``headrace hold RUN...``: keep waiting runs from starting."""

from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def hold(
    runs: Annotated[list[str], typer.Argument(help="Run ids or numbers; an array id for all.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print for a program.")] = False,
) -> None:
    """Keep RUNS that wait from starting until they are released."""
    from headrace.cli.acted import show
    from headrace.cli.connection import connect

    client = connect()
    show([acted for name in dict.fromkeys(runs) for acted in client.hold(name)], as_json=as_json)
