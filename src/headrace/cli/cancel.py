"""``headrace cancel RUN...``: stop runs."""

from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def cancel(
    runs: Annotated[list[str], typer.Argument(help="Run ids or numbers; an array id for all.")],
    now: Annotated[bool, typer.Option("--now", help="Kill at once; nothing is saved.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print for a program.")] = False,
) -> None:
    """Stop RUNS: those that wait end at once, those that run may save first."""
    from headrace.cli.acted import show
    from headrace.cli.connection import connect

    client = connect()
    show(
        [acted for name in dict.fromkeys(runs) for acted in client.cancel(name, now=now)],
        as_json=as_json,
    )
