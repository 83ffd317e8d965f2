"""In the job, after the lead: end the job, or have Slurm queue it again, once.

This is the only place that requeues a job. It acts only while Slurm calls the job RUNNING: when a
job was cancelled, or Slurm requeues it by itself, Slurm has begun to end it and says COMPLETING,
and what follows is said by Slurm alone: by its queue (``seeing``), or by starting the job again
(``begin``).

| the lead's end                  | and Slurm says | then                                      |
|---------------------------------|----------------|-------------------------------------------|
| COMPLETED, FAILED, TIMEOUT, ... | anything       | it stands; the job ends with its exit code |
| PREEMPTED                       | RUNNING        | requeue, if restart.on names the reason    |
| PREEMPTED                       | COMPLETING     | left to Slurm: it cancels, or requeues     |
| none: it died, or lost a node   | RUNNING        | requeue within restart.max and restart.on  |
"""

import time

from headrace.core.errors import EXIT_INTERRUPTED, HeadraceError
from headrace.core.events import Ended, Requeued, StopAsked
from headrace.core.order import StopRequest
from headrace.core.rundir import RunDir, read_events
from headrace.core.states import State
from headrace.engines.local.history import History
from headrace.engines.local.settle import verdict
from headrace.engines.local.submission import Submission
from headrace.engines.slurm import commands
from headrace.engines.slurm.call import call
from headrace.engines.slurm.folders import read_history, read_stop, write_event
from headrace.engines.slurm.rows import parse_fields

_TRIES = 5
_PAUSE_S = 2.0
_RUNNING = "RUNNING"


def settle(run: RunDir, asked: Submission, job_id: str) -> int:
    """Return the exit code of the job."""
    history, attempt = read_history(run, asked), max(run.attempts(), default=0)
    state = _RUNNING if history.state.is_final else _job_state(job_id)
    event = decide(asked, history, state, _why_stopped(run), read_stop(run))
    if event is None:
        return EXIT_INTERRUPTED if history.exit_code is None else history.exit_code
    write_event(run, "batch", event, attempt=attempt)
    if isinstance(event, Ended):
        return event.exit_code
    run.stop.unlink(missing_ok=True)
    _requeue(run, job_id, attempt)
    return EXIT_INTERRUPTED


def decide(
    asked: Submission,
    history: History,
    job_state: str,
    why: str | None,
    stop: StopRequest | None,
) -> Ended | Requeued | None:
    """What to write down; None when the lead's own end stands, or Slurm has the word. Pure.

    ``job_state``: Slurm's word now. ``why``: the reason of the last stop that the lead asked for.
    """
    if history.state.is_final or job_state != _RUNNING:
        return None
    event = verdict(asked, history, lead_error=None)
    if not isinstance(event, Requeued) and not (why == "time" and "time" in asked.restart_on):
        return event
    if why in ("requeue", "time"):
        by = "" if stop is None else f" by {stop.by}"
        return Requeued(reason=why, detail=f"stopped ({why}){by}")
    return event


def _why_stopped(run: RunDir) -> str | None:
    reasons = [
        entry.event.reason
        for entry in read_events(run.events / "lead.jsonl")
        if isinstance(entry.event, StopAsked)
    ]
    return reasons[-1] if reasons else None


def _job_state(job_id: str) -> str:
    """RUNNING also when Slurm does not answer: it will refuse what it must not do."""
    try:
        return parse_fields(call(commands.show_job(job_id)))[0].get("JobState", _RUNNING)
    except (HeadraceError, IndexError):
        return _RUNNING


def _requeue(run: RunDir, job_id: str, attempt: int) -> None:
    """Slurm kills this process soon after it has agreed."""
    problem = ""
    for _ in range(_TRIES):
        try:
            call(commands.requeue(job_id))
        except HeadraceError as error:
            problem = error.why
            time.sleep(_PAUSE_S)
        else:
            return
    detail = f"Slurm would not queue it again: {problem}"
    write_event(
        run, "batch", Ended(state=State.FAILED, exit_code=1, detail=detail), attempt=attempt
    )
