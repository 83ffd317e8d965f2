"""``headrace requeue RUN...``: have running runs save, leave and queue again."""

from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def requeue(
    runs: Annotated[list[str], typer.Argument(help="Run ids or numbers; an array id for all.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print for a program.")] = False,
) -> None:
    """Have RUNS save a checkpoint, give their place back, and wait in the queue again."""
    from headrace.cli.acted import show
    from headrace.cli.connection import connect

    client = connect()
    names = dict.fromkeys(runs)
    show([acted for name in names for acted in client.requeue(name)], as_json=as_json)
