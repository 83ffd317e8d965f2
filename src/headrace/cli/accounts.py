"""``headrace accounts``: the tree of accounts, what they were promised and what they used."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.engines.contract import Share

app = typer.Typer(rich_markup_mode=None, add_completion=False)
_HEAD = ("ACCOUNT", "SHARES", "PROMISED", "USED", "CPU HOURS", "GPU HOURS")


@app.command()
def accounts(
    as_json: Annotated[bool, typer.Option("--json", help="Print for a program.")] = False,
) -> None:
    """Show accounts and users with their shares: the part PROMISED, and the part USED lately.

    USED is what fair share goes by: older usage counts less. Hours are of all times; on Slurm they
    fade as well.
    """
    from headrace.cli.connection import connect

    rows = connect().accounts()
    if as_json:
        from headrace.core.records import encode

        typer.echo(encode({"schema": 1, "accounts": rows}).decode())
        return
    if not rows:
        typer.echo("the site file names no accounts: everybody is equal", err=True)
        return
    from headrace.cli.table import columns

    typer.echo(columns([_HEAD, *(_cells(row) for row in rows)]))


def _cells(row: "Share") -> tuple[str, ...]:
    return (
        "  " * row.depth + (row.user or row.account),
        "parent" if row.shares is None else str(row.shares),
        "-" if row.promised is None else f"{row.promised:.1%}",
        f"{row.used:.1%}",
        f"{row.cpu_hours:.2f}",
        f"{row.gpu_hours:.2f}",
    )
