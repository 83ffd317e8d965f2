"""``headrace top``: what the nodes hold, for whom, and who waits; live."""

import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from headrace.control.door import Door
    from headrace.core.events import Placed
    from headrace.engines.contract import RunRow
    from headrace.schedule.capacity import Capacity

app = typer.Typer(rich_markup_mode=None, add_completion=False)
_ROWS_MAX = 20
_BAR = 20
_GIB = 1 << 30


@app.command()
def top(
    once: Annotated[bool, typer.Option("--once", help="Print one screen and leave.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.2)] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print once, for a program.")] = False,
) -> None:
    """Show nodes, users and runs. Leave with Ctrl-C."""
    from headrace.cli.connection import connect

    client = connect()
    if as_json:
        from headrace.core.records import encode

        found = {"schema": 1, "nodes": client.nodes(), "runs": client.runs(ended=False)}
        typer.echo(encode(found).decode())
        return
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 80)
    if once or not console.is_terminal:
        console.print(_screen(client))
        return
    from rich.live import Live

    with Live(_screen(client), console=console, auto_refresh=False, screen=True) as live:
        while True:
            time.sleep(every)
            live.update(_screen(client), refresh=True)


def _screen(client: "Door") -> "RenderableType":
    return render(client.nodes(), client.runs(ended=False), time.time())


def render(nodes: "Sequence[Capacity]", runs: "Sequence[RunRow]", now_s: float) -> "RenderableType":
    from rich.console import Group

    return Group(_nodes(nodes, runs), "", _users(runs), "", _runs(runs, now_s))


def _nodes(nodes: "Sequence[Capacity]", runs: "Sequence[RunRow]") -> "Table":
    table = _table("NODE", "CPUS", "", "GPUS", "", "MEMORY GIB", "RUNS")
    for node in nodes:
        here = [
            (row, piece) for row in runs if _holds(row) for piece in row.placed if _on(piece, node)
        ]
        cpus = sum(len(piece.cpus) for _, piece in here)
        gpus = sum(len(piece.gpus) for _, piece in here)
        memory = sum(piece.memory_bytes or 0 for _, piece in here)
        table.add_row(
            node.name,
            f"{cpus}/{len(node.cpus)}",
            _bar(cpus, len(node.cpus)),
            f"{gpus}/{len(node.gpus)}",
            _bar(gpus, len(node.gpus)),
            f"{memory / _GIB:.1f}/{node.memory_bytes / _GIB:.1f}",
            str(len({row.id for row, _ in here})),
        )
    return table


def _users(runs: "Sequence[RunRow]") -> "Table":
    table = _table("USER", "RUNNING", "CPUS", "GPUS", "WAITING")
    running, waiting = Counter[str](), Counter[str]()
    cpus, gpus = Counter[str](), Counter[str]()
    for row in runs:
        (running if _holds(row) else waiting)[row.user] += 1
        if _holds(row):
            cpus[row.user] += sum(len(piece.cpus) for piece in row.placed)
            gpus[row.user] += sum(len(piece.gpus) for piece in row.placed)
    for user in sorted(running | waiting):
        counts = (running[user], cpus[user], gpus[user], waiting[user])
        table.add_row(user, *map(str, counts))
    return table


def _runs(runs: "Sequence[RunRow]", now_s: float) -> "Table":
    from headrace.cli.table import ago

    table = _table("RUN", "USER", "STATE", "NODES", "TIME", "REASON")
    for row in sorted(runs, key=_holds, reverse=True)[:_ROWS_MAX]:
        nodes = len(row.placed) or row.request.nodes_min
        since_s = row.started_s if _holds(row) else row.submitted_s
        table.add_row(row.id, row.user, row.state, str(nodes), ago(since_s, now_s), row.reason)
    if len(runs) > _ROWS_MAX:
        table.add_row(f"... {len(runs) - _ROWS_MAX} more", "", "", "", "", "headrace ps")
    return table


def _table(*heads: str) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(Text(head))
    return table


def _bar(used: int, total: int) -> str:
    filled = round(_BAR * used / total) if total else 0
    return "█" * filled + "·" * ((_BAR if total else 0) - filled)


def _holds(row: "RunRow") -> bool:
    from headrace.core.states import State

    return row.state is State.RUNNING


def _on(piece: "Placed", node: "Capacity") -> bool:
    return piece.address == node.address and any(cpu.id in piece.cpus for cpu in node.cpus)
