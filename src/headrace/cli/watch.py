"""``headrace watch RUN``: a live view of a run until it ends."""

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from headrace.monitor.watch import Frame

app = typer.Typer(rich_markup_mode=None, add_completion=False)
_REFRESH_S = 1.0
_RANKS_MAX = 16
_GIB = 1 << 30
_STYLES = {"RUNNING": "bold cyan", "COMPLETED": "bold green", "PENDING": "dim"}


@app.command()
def watch(
    run: Annotated[str, typer.Argument(help="Run id, its number, or a run directory.")],
    once: Annotated[bool, typer.Option("--once", help="Print one frame and leave.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one frame for a program and leave.")
    ] = False,
) -> None:
    """Show what RUN does: progress, loss, speed, use of the nodes, each rank. Ends with the run."""
    from headrace.cli.connection import run_dir
    from headrace.monitor.watch import Follower

    follower = Follower(run_dir(run).root)
    frame = follower.frame(time.time())
    if as_json:
        from headrace.core.records import encode

        typer.echo(encode({"schema": 1, "frame": frame}).decode())
        return
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 80)
    if once or not console.is_terminal:
        console.print(render(frame))
        return
    from rich.live import Live

    with Live(render(frame), console=console, auto_refresh=False, transient=False) as live:
        while not frame.is_final:
            time.sleep(_REFRESH_S)
            frame = follower.frame(time.time())
            live.update(render(frame), refresh=True)


def render(frame: "Frame") -> "RenderableType":
    """One screen, 80 columns or more. Texts of the run are never taken for markup."""
    from rich.console import Group
    from rich.text import Text

    head = Text.assemble(
        (frame.run_id, "bold"), "  ", (frame.state, _STYLES.get(frame.state, "bold yellow"))
    )
    if frame.attempt:
        head.append(f"  attempt {frame.attempt}", "dim")
    if frame.detail:
        head.append(f"\n{frame.detail}", "dim")
    return Group(head, _progress(frame), *_numbers(frame), _ranks(frame), *_events(frame))


def _progress(frame: "Frame") -> "Table":
    """Steps of all steps where their number is known, else time of the limit."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    from headrace.core.look import format_seconds

    elapsed = format_seconds(frame.elapsed_s)
    grid = Table.grid(padding=(0, 2, 0, 0))
    if frame.total_steps and frame.step:
        text = f"step {frame.step:,} of {frame.total_steps:,}, {elapsed}"
        grid.add_row(ProgressBar(frame.total_steps, frame.step, width=32), Text(text))
    elif frame.limit_s:
        at = f"step {frame.step:,}, " if frame.step else ""
        text = f"{at}{elapsed} of {format_seconds(frame.limit_s)}"
        grid.add_row(ProgressBar(frame.limit_s, frame.elapsed_s, width=32), Text(text))
    else:
        grid.add_row(Text(f"step {frame.step:,}, {elapsed}" if frame.step else elapsed))
    return grid


def _numbers(frame: "Frame") -> "list[Text | Table]":
    from rich.table import Table
    from rich.text import Text

    from headrace.monitor.series import sparkline

    found: list[Text | Table] = []
    if frame.losses:
        now = "not a number" if frame.loss is None else f"{frame.loss:.5g}"
        found.append(
            Text.assemble(("loss ", "dim"), f"{now}  ", (sparkline(frame.losses, 40), "cyan"))
        )
    if frame.samples_per_s is not None:
        found.append(Text.assemble(("samples a second ", "dim"), f"{frame.samples_per_s:,.4g}"))
    if frame.nodes:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for title in ("node", "CPU", "memory", "GPU", "GPU memory", "power"):
            table.add_column(title, justify="left" if title == "node" else "right")
        for node in frame.nodes:
            sample = node.sample
            gpus = sample.gpus
            power_w = sum(gpu.power_w or 0.0 for gpu in gpus)
            mean = sum(gpu.utilization_ratio for gpu in gpus) / len(gpus) if gpus else 0.0
            table.add_row(
                Text(node.node),
                f"{100 * sample.cpu_ratio:.0f} %",
                f"{sample.memory_bytes / _GIB:.2f} GiB",
                f"{100 * mean:.0f} % of {len(gpus)}" if gpus else "-",
                f"{sum(gpu.memory_bytes for gpu in gpus) / _GIB:.1f} GiB" if gpus else "-",
                f"{power_w:.0f} W" if power_w else "-",
            )
        found.append(table)
    return found


def _ranks(frame: "Frame") -> "Table":
    """The ranks that were silent longest come first where there are too many."""
    from rich.table import Table
    from rich.text import Text

    from headrace.core.look import format_seconds

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    if not frame.ranks:
        return table
    for title in ("rank", "phase", "step", "last heard"):
        table.add_column(title, justify="left" if title == "phase" else "right")
    shown = frame.ranks
    if len(shown) > _RANKS_MAX:
        shown = tuple(sorted(shown, key=lambda view: view.heard_s or 0.0)[:_RANKS_MAX])
    for view in shown:
        silent_s = None if view.heard_s is None else max(0.0, frame.now_s - view.heard_s)
        table.add_row(
            str(view.rank),
            Text(view.phase or "-"),
            "-" if view.step is None else f"{view.step:,}",
            "never" if silent_s is None else f"{format_seconds(silent_s)} ago",
        )
    if len(frame.ranks) > len(shown):
        table.add_row("", Text(f"and {len(frame.ranks) - len(shown)} more", style="dim"), "", "")
    return table


def _events(frame: "Frame") -> "list[Text]":
    from rich.text import Text

    return [
        Text.assemble((time.strftime("%H:%M:%S  ", time.localtime(said.time_s)), "dim"), said.text)
        for said in frame.said
    ]
