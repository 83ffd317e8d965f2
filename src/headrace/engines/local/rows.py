"""What people are shown of a run. Pure."""

from pathlib import Path

from headrace.engines.contract import RunRow
from headrace.engines.local.asking import request_now
from headrace.engines.local.history import History
from headrace.engines.local.submission import Submission


def row_of(asked: Submission, history: History, *, reason: str, run_dir: Path) -> RunRow:
    """``reason``: why it waits; empty when it does not, or nobody knows yet."""
    return RunRow(
        id=asked.run_id,
        name=asked.name,
        user=asked.user,
        state=history.state,
        reason=reason or history.detail,
        submitted_s=asked.submitted_s,
        started_s=history.started_s,
        ended_s=history.ended_s,
        attempts=len(history.attempts),
        restarts=max(0, len(history.attempts) - 1),
        exit_code=history.exit_code,
        run_dir=str(run_dir),
        request=request_now(asked, history),
        placed=history.placed,
        array_id=asked.array_id,
        priority=asked.priority,
        uid=asked.uid,
    )
