"""``headrace report RUN``: what it did, what it cost, where the time went."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from headrace.monitor.report import Report

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="Run id, its number, or a run directory.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report for a program; write nothing.")
    ] = False,
    open_path: Annotated[
        bool, typer.Option("--open-path", help="Print only the path of the HTML page.")
    ] = False,
) -> None:
    """Show what RUN did and cost, and write report.json, .html and .png into its directory."""
    from headrace.cli.connection import run_dir
    from headrace.core.records import encode

    folder = run_dir(run).root
    if as_json:
        from headrace.monitor.history import load
        from headrace.monitor.report import report as make_report

        typer.echo(encode(make_report(load(folder))).decode())
        return
    from headrace.monitor.write import write_report

    written = write_report(folder)
    if open_path:
        typer.echo(str(written.html))
        return
    from rich.console import Console

    print_report(written.report, Console(width=None if sys.stdout.isatty() else 80))
    for path in (written.html, written.png, written.json):
        typer.echo(str(path), err=True)


def print_report(found: "Report", console: "Console") -> None:
    """Summary, time by cause with bars, notes. Nothing in it is taken for markup."""
    from rich.table import Table
    from rich.text import Text

    from headrace.monitor.page import summary, time_rows
    from headrace.monitor.timeline import Cause

    good = found.state == "COMPLETED"
    console.print(
        Text.assemble(
            (found.run_id, "bold"), "  ", (found.state, "green" if good else "bold yellow")
        )
    )
    if found.detail:
        console.print(Text(found.detail, style="dim"))
    facts = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for what, value in summary(found):
        facts.add_row(Text(what, style="dim"), Text(value))
    console.print(facts)
    if found.wall_s > 0:
        console.print(Text("\nWhere the time went", style="bold"))
        times = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        shares = [found.seconds[cause] / found.wall_s for cause in Cause if found.seconds[cause]]
        for (cause, length, share), ratio in zip(time_rows(found), shares, strict=True):
            bar = Text("█" * round(30 * ratio) or "▏", style="cyan")
            times.add_row(Text(cause), Text(length), Text(share), bar)
        console.print(times)
    for note in found.notes:
        console.print(Text.assemble(("\nNote ", "bold yellow"), note), soft_wrap=False)
