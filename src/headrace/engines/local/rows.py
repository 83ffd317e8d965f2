"""What people are shown of a run. Pure."""

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from headrace.core.records import replace
from headrace.engines.contract import Caller, RunRow, may, public_id, public_part
from headrace.engines.local.asking import request_now
from headrace.engines.local.history import History
from headrace.engines.local.submission import Submission

_RUN_ID = re.compile(r"[^\s,:]+-\d+(?:_\d+)?", re.ASCII)


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


def local_time(time_s: float) -> str:
    """As the clock on this machine's wall shows it."""
    return f"{datetime.fromtimestamp(time_s).astimezone():%Y-%m-%d %H:%M}"


def seen_by(who: Caller, row: RunRow, owners: Mapping[str, int | None]) -> RunRow:
    """The row as ``who`` may see it. A reason may name runs of others: their numbers are public.

    ``owners``: run id -> uid of all that wait or run.
    """

    def public(word: re.Match[str]) -> str:
        uid = owners.get(word[0])
        return word[0] if uid in (None, who.uid) else public_id(word[0])

    if not may(row, who):
        return public_part(row)
    return (
        row if who.admin or not row.reason else replace(row, reason=_RUN_ID.sub(public, row.reason))
    )
