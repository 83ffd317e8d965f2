"""What state a run is in: from its own files first, then from Slurm's queue, then accounting. Pure.

The lead's word on how a run ended is the last one. Where a job has gone from the queue without it,
a cancel that was asked for explains it, else sacct, where the site has it; else it is UNKNOWN.
"""

from headrace.core.errors import EXIT_INTERRUPTED, EXIT_TIMEOUT
from headrace.core.events import Ended
from headrace.core.order import StopRequest
from headrace.core.records import Record
from headrace.core.states import State
from headrace.engines.local.history import History
from headrace.engines.local.submission import Submission
from headrace.engines.slurm.jobs import SlurmJob
from headrace.engines.slurm.reasons import in_words, waits
from headrace.engines.slurm.rows import AccountingRow, QueueRow

_WAITING = ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT")
_RUNNING = (
    *("RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT"),
    *("RESIZING", "EXPEDITING", "POWER_UP_NODE"),
    "REVOKED",  # its sibling on another cluster of the federation has it
)
_ENDED = {
    "COMPLETED": State.COMPLETED,
    "CANCELLED": State.CANCELLED,
    "FAILED": State.FAILED,
    "LAUNCH_FAILED": State.FAILED,
    "RECONFIG_FAIL": State.FAILED,
    "TIMEOUT": State.TIMEOUT,
    "DEADLINE": State.TIMEOUT,
    "NODE_FAIL": State.NODE_FAIL,
    "BOOT_FAIL": State.NODE_FAIL,
    "PREEMPTED": State.FAILED,
    "OUT_OF_MEMORY": State.OUT_OF_MEMORY,
}
NEVER_HANDED = "its submission was cut off; it was never handed to Slurm"
_HANDED_LATE_S, _HANDED_ELSEWHERE_S = 120.0, 3600.0
SETTLES_S = 60.0


class Seen(Record, frozen=True, kw_only=True):
    """``end``: to be written down, since nobody else has. ``ask``: only sacct knows more."""

    state: State
    reason: str
    end: Ended | None = None
    ask: bool = False


_LEFT = "has left Slurm's queue"
UNHEARD = Seen(state=State.RUNNING, reason=f"{_LEFT}; accounting gives no answer")


class Queue(Record, frozen=True, kw_only=True):
    """The row of one run in the last answer; None when it is not there. ``asked_s``: its age."""

    asked_s: float
    row: QueueRow | None


def see(
    asked: Submission,
    history: History,
    job: SlurmJob | None,
    queue: Queue,
    stop: StopRequest | None,
    now_s: float,
    *,
    submits: bool | None = None,
) -> Seen:
    """``now_s``: when the files were read. ``submits``: whether the process that hands it to Slurm
    lives, None for one of another host."""
    if is_over(history) or (history.state.is_final and job is None):
        return Seen(state=history.state, reason=history.detail)
    if job is None:
        return _not_handed_over(asked, now_s, submits=submits)
    row = queue.row
    cancelled = stop is not None and stop.reason == "cancel"
    if row is not None and row.state in _WAITING:
        if history.state is State.RUNNING and history.placed_s > queue.asked_s:
            return Seen(state=State.RUNNING, reason="")
        reason = "is being cancelled" if cancelled else waits(row.reason, row.start_s)
        return Seen(state=State.PENDING, reason=reason)
    if row is not None and row.state in _RUNNING:
        reason = "" if row.state == "RUNNING" else row.state.lower()
        return Seen(state=State.RUNNING, reason="is being cancelled" if cancelled else reason)
    if history.state is State.RUNNING and queue.asked_s < history.placed_s + 1.0:
        return Seen(state=State.RUNNING, reason="")
    if queue.asked_s < job.submitted_s + 1.0:
        return Seen(state=State.PENDING, reason="handed to Slurm")
    settled = row is None or row.end_s is None or now_s - row.end_s >= SETTLES_S
    # FAILED: the signal came before the batch script could hear it.
    obeyed = row is None or row.state == "CANCELLED" or (row.state == "FAILED" and settled)
    if cancelled and stop is not None and obeyed:
        return _over(State.CANCELLED, EXIT_INTERRUPTED, f"cancelled by {stop.by}")
    if row is not None:
        said = in_words(row.reason)
        return _from_slurm(row.state, 1, said or _last_word(history), settled=settled)
    return Seen(state=State.UNKNOWN, reason=_LEFT, ask=True)


def _not_handed_over(asked: Submission, now_s: float, *, submits: bool | None) -> Seen:
    """A copy of a large code, or a slow sbatch, may take long: who lives is at it."""
    late_s = _HANDED_ELSEWHERE_S if submits is None else _HANDED_LATE_S
    if submits or now_s - asked.submitted_s < late_s:
        return Seen(state=State.PENDING, reason="is being handed to Slurm")
    return _over(State.FAILED, 1, NEVER_HANDED)


def is_over(history: History) -> bool:
    """A job is proof that the run was handed over, whatever a look from afar made of a slow
    submission."""
    return history.state.is_final and history.detail != NEVER_HANDED


def _last_word(history: History) -> str:
    return "its lead left no word" if history.lead_end is None else history.lead_end.detail


def _from_slurm(state: str, exit_code: int, said: str, *, settled: bool) -> Seen:
    """The lead left no word. ``settled``: its word would have arrived by now."""
    found = _ENDED.get(state)
    if found is None:
        return Seen(state=State.UNKNOWN, reason=f"Slurm calls it {state}")
    detail = f"Slurm says {state}" + (f"; {said}" if said else "")
    codes = {
        State.COMPLETED: 0,
        State.CANCELLED: EXIT_INTERRUPTED,
        State.TIMEOUT: EXIT_TIMEOUT,
    }
    seen = _over(found, codes.get(found, exit_code or 1), detail)
    return seen if settled else Seen(state=State.RUNNING, reason="is ending")


def from_accounting(row: AccountingRow | None, *, missed_s: float) -> Seen:
    """Of a run that has left the queue. ``missed_s``: for how long accounting has not known it:
    what slurmctld tells slurmdbd may be late."""
    if row is None and missed_s < SETTLES_S:
        return Seen(state=State.RUNNING, reason=f"{_LEFT}; accounting does not know it yet")
    if row is None:
        return Seen(
            state=State.UNKNOWN,
            reason="it has left Slurm's queue, its lead left no word, and accounting knows nothing",
        )
    if row.state in _WAITING or row.state in _RUNNING:
        return Seen(state=State.RUNNING, reason=f"accounting says {row.state}")
    code = 128 + row.signal if row.signal else row.exit_code
    return _from_slurm(row.state, code, "its lead left no last word", settled=True)


def _over(state: State, exit_code: int, detail: str) -> Seen:
    end = Ended(state=state, exit_code=exit_code, detail=detail)
    return Seen(state=state, reason=detail, end=end)
