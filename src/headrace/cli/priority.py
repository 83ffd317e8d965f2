"""``headrace priority``: the queue in order, and what each place is made of."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.schedule.explain import Ranked
    from headrace.schedule.multifactor import Factor

app = typer.Typer(rich_markup_mode=None, add_completion=False)
_PARTS = ("age", "assoc", "fairshare", "job_size", "partition", "qos", "site")


@app.command()
def priority(
    run: Annotated[str | None, typer.Argument(help="Only this run, by id or number.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print for a program.")] = False,
) -> None:
    """List the runs that wait for nodes, in order, with their priority and its parts.

    Runs that are held, or wait for others or a begin time, are not in the queue yet.
    """
    from headrace.cli.connection import connect

    client = connect()
    rows = client.ranking()
    if run is not None:
        wanted = {row.id for row in client.find(run)}
        rows = [row for row in rows if row.run in wanted]
    if as_json:
        from headrace.core.records import encode

        typer.echo(encode({"schema": 1, "runs": rows}).decode())
        return
    if not rows:
        typer.echo("no run waits for nodes" if run is None else f"{run} is not queued", err=True)
        return
    from headrace.cli.table import columns

    typer.echo(columns(table(rows)))


def table(rows: "list[Ranked]") -> list[tuple[str, ...]]:
    """The site's policy gives all of them factors, or none."""
    head = ("PLACE", "RUN", "USER", "ACCOUNT")
    if all(row.factors is None for row in rows):
        return [head, *(_who(row) for row in rows)]
    parts = [name for name in _PARTS if any(_part(row, name).weighted for row in rows)]
    tres = sorted({name for row in rows if row.factors for name in row.factors.tres})
    nice = any(row.factors and row.factors.nice for row in rows)
    names = [name.replace("_", " ").upper() for name in (*parts, *tres)]
    return [
        (*head, "PRIORITY", *names, *(["NICE"] if nice else [])),
        *((*_who(row), *_cells(row, [*parts, *tres], nice=nice)) for row in rows),
    ]


def _who(row: "Ranked") -> tuple[str, ...]:
    return str(row.place), row.run, row.user, row.account or "-"


def _cells(row: "Ranked", names: list[str], *, nice: bool) -> list[str]:
    assert row.factors is not None, "one order weighs all"
    cells = [str(row.factors.total), *(str(round(_part(row, name).weighted)) for name in names)]
    return [*cells, str(-row.factors.nice)] if nice else cells


def _part(row: "Ranked", name: str) -> "Factor":
    assert row.factors is not None, "one order weighs all"
    found: Factor = row.factors.tres.get(name) or getattr(row.factors, name)
    return found
