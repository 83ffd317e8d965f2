"""``headrace status RUN``: everything about one run."""

import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.core.errors import HeadraceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.control.door import Door
    from headrace.engines.contract import AttemptRow, RunDetail
    from headrace.schedule.explain import Explanation

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def status(
    run: Annotated[str, typer.Argument(help="Run id or number; n_i for an element of an array.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print for a program.")] = False,
) -> None:
    """Show RUN: its state and why, its attempts, its place, its times."""
    from headrace.cli.connection import connect

    client = connect()
    found = client.detail(run)
    explained = _explained(client, found)
    if as_json:
        from headrace.core.records import encode, to_builtins

        row = to_builtins(found.run)
        assert isinstance(row, dict)
        attempts = to_builtins(found.attempts)
        expected = {"expected_start_s": explained and explained.forecast.start_s}
        typer.echo(encode({"schema": 1, **row, **expected, "attempts": attempts}).decode())
        return
    from headrace.cli.table import columns

    typer.echo(columns(list(_facts(found, explained, time.time()))))
    if found.attempts:
        head = ("ATTEMPT", "OUTCOME", "STEP", "RANKS", "TIME", "DETAIL")
        typer.echo()
        typer.echo(columns([head, *(_attempt(one, time.time()) for one in found.attempts)]))


def _explained(client: "Door", found: "RunDetail") -> "Explanation | None":
    """When it is to start, if it waits; it may start while we ask."""
    from headrace.core.errors import Refused
    from headrace.core.states import State

    if found.run.state is not State.PENDING:
        return None
    try:
        return client.explain(found.run.id, sooner=False)
    except HeadraceError as error:
        if error.exit_status == Refused.exit_status:
            return None
        raise


def _facts(
    found: "RunDetail", explained: "Explanation | None", now_s: float
) -> "Iterator[tuple[str, str]]":
    from headrace.cli.explain import expected
    from headrace.cli.table import ago
    from headrace.core.rundir import RunDir
    from headrace.core.staged import in_words, latest
    from headrace.core.states import State
    from headrace.schedule.request import describe

    run = found.run
    yield "run", run.id
    yield "state", run.state
    if run.reason:
        yield "reason", run.reason
    if explained is not None:
        yield "expected", expected(run.id, explained.forecast, explained.now_s, None)
    yield "asks for", describe(run.request)
    for placed in run.placed:
        held = {"CPUs": placed.cpus, "GPUs": placed.gpus}
        parts = ", ".join(f"{kind} {_numbers(ids)}" for kind, ids in held.items() if ids)
        yield "node", f"{placed.node}: {parts}" if parts else placed.node
    yield "submitted", _when(run.submitted_s)
    if run.started_s is not None:
        waited = ago(run.submitted_s, run.started_s)
        yield "started", f"{_when(run.started_s)}, after {waited}"
    if run.ended_s is not None:
        yield "ended", f"{_when(run.ended_s)}, after {ago(run.started_s, run.ended_s)}"
        yield "exit code", str(run.exit_code)
    elif run.started_s is not None:
        yield "runs for", ago(run.started_s, now_s)
    if run.state is State.RUNNING:
        for event in latest(RunDir(Path(run.run_dir))):
            yield "data", in_words(event)
    yield "directory", run.run_dir


def _attempt(one: "AttemptRow", now_s: float) -> tuple[str, ...]:
    from headrace.cli.table import ago

    return (
        str(one.number),
        one.outcome or "-",
        "-" if one.step is None else str(one.step),
        str(one.world_size),
        ago(one.started_s, one.ended_s or now_s),
        one.detail,
    )


def _numbers(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))


def _when(time_s: float) -> str:
    return datetime.fromtimestamp(time_s).astimezone().isoformat(" ", "seconds")
