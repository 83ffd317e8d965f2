"""``headrace ps``: your runs."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.core.errors import UsageError
from headrace.core.states import State

if TYPE_CHECKING:
    from headrace.engines.contract import RunRow

app = typer.Typer(rich_markup_mode=None, add_completion=False)
_HEAD = ("ID", "STATE", "NODES", "CPUS", "GPUS", "TRIES", "TIME", "REASON")


class StateUnknown(UsageError):
    """No state has this name."""

    code = "HR-CLI-003"

    def __init__(self, text: str) -> None:
        super().__init__(
            f'"{text}" is not a state of a run',
            why=f"the states are {', '.join(State)}",
            remedy="headrace ps --state RUNNING",
        )


@app.command()
def ps(
    everything: Annotated[bool, typer.Option("--all", "-a", help="Ended runs, too.")] = False,
    state: Annotated[
        list[str] | None, typer.Option("--state", help="Only in this state; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print for a program.")] = False,
) -> None:
    """List runs that wait or run, in order of submission: yours, or all of the machine."""
    from headrace.cli.connection import connect

    states = {_state(text) for text in state or ()}
    ended = everything or any(one.is_final for one in states)
    client = connect()
    rows = [row for row in client.runs(ended=ended) if not states or row.state in states]
    if as_json:
        from headrace.core.records import encode

        typer.echo(encode({"schema": 1, "runs": rows}).decode())
        return
    if not rows:
        wanted = " or ".join(sorted(states)) or ("known" if ended else "waiting or running")
        typer.echo(f"no run is {wanted}", err=True)
        return
    from headrace.cli.table import columns

    now_s = time.time()
    table = [_HEAD, *(_cells(row, now_s) for row in rows)]
    if client.system:
        users = ("USER", *(row.user for row in rows))
        table = [(cells[0], user, *cells[1:]) for cells, user in zip(table, users, strict=True)]
    typer.echo(columns(table))


def _state(text: str) -> State:
    try:
        return State(text.upper())
    except ValueError:
        raise StateUnknown(text) from None


def _cells(row: "RunRow", now_s: float) -> tuple[str, ...]:
    from headrace.cli.table import ago

    request = row.request
    nodes = len(row.placed) or request.nodes_min
    return (
        row.id,
        row.state,
        str(nodes),
        str(nodes * request.cpus_per_node),
        str(nodes * request.gpus_per_node),
        str(row.attempts),
        ago(row.started_s, row.ended_s or now_s),
        row.reason,
    )
