"""Rows of runs, of which a test says what it minds."""

from headrace.core.states import State
from headrace.engines.contract import RunRow
from headrace.schedule.request import Request


def row(
    run_id: str,
    state: State = State.PENDING,
    reason: str = "",
    *,
    array_id: str | None = None,
) -> RunRow:
    return RunRow(
        id=run_id,
        name=run_id.rpartition("-")[0],
        user="ada",
        state=state,
        reason=reason,
        submitted_s=0.0,
        started_s=None,
        ended_s=None,
        attempts=0,
        restarts=0,
        exit_code=None,
        run_dir="",
        request=Request(),
        placed=(),
        array_id=array_id,
        priority=0,
    )
