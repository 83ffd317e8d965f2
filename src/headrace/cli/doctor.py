"""``headrace doctor``: what is wrong with this machine, worst first."""

import os
import sys
from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None, add_completion=False)
_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim"}


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print for a program.")] = False,
) -> None:
    """Check this machine for what makes runs fail or slow. Exit status 1 if something will."""
    from headrace.diagnose.collect import collect
    from headrace.diagnose.doctor import doctor as examine
    from headrace.diagnose.finding import Severity

    findings = examine(collect(os.environ))
    if as_json:
        from headrace.core.records import encode

        typer.echo(encode({"schema": 1, "findings": findings}).decode())
    else:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        console = Console(width=None if sys.stdout.isatty() else 80)
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 1, 0))
        for finding in findings:
            text = Text.assemble(
                (finding.what, "bold"),
                (f"\n{finding.evidence}  [{finding.code}]", "dim"),
                f"\n→ {finding.remedy}",
            )
            table.add_row(Text(finding.severity, style=_STYLES[finding.severity]), text)
        console.print(table)
        counts = ", ".join(
            f"{sum(f.severity == severity for f in findings)} {severity}" for severity in Severity
        )
        console.print(Text(counts), highlight=False)
    if any(finding.severity == Severity.ERROR for finding in findings):
        raise typer.Exit(1)
