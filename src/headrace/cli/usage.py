"""``headrace usage``: who held how much of the machine, month by month."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.core.errors import UsageError

if TYPE_CHECKING:
    from headrace.engines.contract import Spent

app = typer.Typer(rich_markup_mode=None, add_completion=False)
_NAMES = ("month", "account", "user")


class GroupUnknown(UsageError):
    """Usage cannot be added up by this."""

    code = "HR-CLI-006"

    def __init__(self, text: str) -> None:
        super().__init__(
            f'"{text}" is nothing to add usage up by',
            why=f"it is kept by {', '.join(_NAMES)}",
            remedy="headrace usage --by account,month",
        )


@app.command()
def usage(
    by: Annotated[str, typer.Option("--by", help="Any of month, account, user.")] = ",".join(
        _NAMES
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print for a program.")] = False,
) -> None:
    """Show hours of CPUs and GPUs that were held, and the energy that counters measured."""
    from headrace.cli.connection import connect

    names = [name.strip() for name in by.split(",")]
    for name in names:
        if name not in _NAMES:
            raise GroupUnknown(name)
    rows = folded(connect().usage(), names)
    if as_json:
        from headrace.core.records import encode

        typer.echo(encode({"schema": 1, "by": names, "usage": rows}).decode())
        return
    if not rows:
        typer.echo("nothing has been used yet", err=True)
        return
    from headrace.cli.table import columns

    head = (*(name.upper() for name in names), "RUNS", "CPU HOURS", "GPU HOURS", "KWH")
    typer.echo(columns([head, *(_cells(row, names) for row in rows)]))


def _cells(row: "Spent", names: Sequence[str]) -> tuple[str, ...]:
    return (
        *(getattr(row, name) or "-" for name in names),
        str(row.runs),
        f"{row.cpu_hours:.2f}",
        f"{row.gpu_hours:.2f}",
        "-" if row.energy_kwh is None else f"{row.energy_kwh:.3f}",
    )


def folded(rows: "Iterable[Spent]", by: Sequence[str]) -> "list[Spent]":
    """One row for each value of ``by``; the other names are empty."""
    from headrace.core.records import replace

    found: dict[tuple[str, ...], Spent] = {}
    for row in rows:
        key = tuple(getattr(row, name) for name in by)
        names = {name: getattr(row, name) if name in by else "" for name in _NAMES}
        old = found.get(key)
        if old is None:
            found[key] = replace(row, **names)
            continue
        found[key] = replace(
            old,
            runs=old.runs + row.runs,
            cpu_hours=old.cpu_hours + row.cpu_hours,
            gpu_hours=old.gpu_hours + row.gpu_hours,
            energy_kwh=_sum(old.energy_kwh, row.energy_kwh),
        )
    return [found[key] for key in sorted(found)]


def _sum(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else one + other
