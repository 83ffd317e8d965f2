"""``headrace wait RUN...``: until they have ended."""

import time
from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None, add_completion=False)
_POLL_S = 25.0


@app.command()
def wait(
    runs: Annotated[list[str], typer.Argument(help="Run ids or numbers.")],
    timeout_s: Annotated[
        float | None, typer.Option("--timeout", min=0, help="Seconds at most; then exit 124.")
    ] = None,
) -> None:
    """Wait until RUNS have ended. Exit status 0 when all COMPLETED."""
    from headrace.cli.connection import connect
    from headrace.cli.outcome import exit_status, line
    from headrace.core.errors import EXIT_TIMEOUT

    client = connect()
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    ended = []
    for name in dict.fromkeys(runs):
        while True:
            left_s = _POLL_S if deadline_s is None else deadline_s - time.monotonic()
            rows = client.wait(name, timeout_s=max(0.0, min(_POLL_S, left_s)))
            if all(row.state.is_final for row in rows):
                break
            if left_s <= 0:
                typer.echo(f"{name} has not ended after {timeout_s:g} s", err=True)
                raise typer.Exit(EXIT_TIMEOUT)
        for row in rows:
            typer.echo(line(row), err=True)
        ended.extend(rows)
    raise typer.Exit(exit_status(row.state for row in ended))
