"""In the job, after the lead: end the job, or have Slurm queue it again, once.

This is the only place that requeues a job. It acts only while Slurm calls the job RUNNING: when a
job was cancelled, or Slurm requeues it by itself, Slurm has begun to end it and says COMPLETING,
and what follows is said by Slurm alone: by its queue (``seeing``), or by starting the job again
(``begin``).

| the lead's end                  | and Slurm says | then                                      |
|---------------------------------|----------------|-------------------------------------------|
| COMPLETED, FAILED, TIMEOUT, ... | anything       | it stands; the job ends with its exit code |
| PREEMPTED                       | RUNNING        | requeue, if restart.on names the reason,   |
|                                 |                | or the user asked for it                   |
| PREEMPTED                       | COMPLETING     | left to Slurm: it cancels, or requeues     |
| none: it died, or lost a node   | RUNNING        | requeue within restart.max and restart.on  |
| any of the last two             | RUNNING        | CANCELLED, if a cancel was asked for        |

A requeue for the time limit, or for nodes that were lost, ends when three attempts in a row got no
further (``progress``), or when in none of three places an attempt began. Nodes that were given up
are excluded from the next place (``exclude``).
"""

import contextlib
import time
from collections.abc import Iterable, Mapping

from headrace.core.errors import EXIT_INTERRUPTED, EXIT_TIMEOUT, HeadraceError
from headrace.core.events import Ended, Entry, LeadStarted, Noted, Requeued, StopAsked
from headrace.core.order import StopRequest
from headrace.core.records import replace
from headrace.core.rundir import RunDir, read_events
from headrace.core.states import State
from headrace.engines.local.history import History
from headrace.engines.local.settle import verdict
from headrace.engines.local.submission import Submission
from headrace.engines.slurm import commands
from headrace.engines.slurm.call import call
from headrace.engines.slurm.errors import SlurmUnreachable
from headrace.engines.slurm.exclude import Exclusion, exclusion, given_up
from headrace.engines.slurm.folders import forget_stop, read_history, read_stop, write_event
from headrace.engines.slurm.progress import Progress, progress
from headrace.engines.slurm.rows import NodeRow, parse_fields, parse_nodes

_REFUSALS = 5
_PAUSE_S = 2.0
_ASKS_S = 600.0
_RUNNING = "RUNNING"
_IS_QUEUED = "Job is pending execution"
VAIN_MAX = 3


def settle(run: RunDir, asked: Submission, job_id: str, environ: Mapping[str, str]) -> int:
    """Return the exit code of the job."""
    history, attempt = read_history(run, asked), max(run.attempts(), default=0)
    lead = list(read_events(run.events / "lead.jsonl"))
    job = {} if history.state.is_final else _job(job_id)
    event = decide(
        asked,
        history,
        job.get("JobState", _RUNNING),
        why_stopped(lead),
        read_stop(run),
        progress(lead),
    )
    if event is None:
        return EXIT_INTERRUPTED if history.exit_code is None else history.exit_code
    excluded = None
    if isinstance(event, Requeued) and (bad := given_up(lead)):
        excluded = exclusion(bad, job, _nodes(), need=asked.request.nodes_min)
        event = replace(event, detail=f"{event.detail}; {_said(bad, excluded)}")
    write_event(run, "batch", event, attempt=attempt)
    if isinstance(event, Ended):
        return event.exit_code
    forget_stop(run)
    if event.reason == "requeue" and not asked.restarts_max:
        _allow_requeue(job_id)
    end = requeue(run, job_id, environ, excluded, attempt=attempt)
    if end is not None:
        write_event(run, "batch", end, attempt=attempt)
    return EXIT_INTERRUPTED if end is None else end.exit_code


def decide(
    asked: Submission,
    history: History,
    job_state: str,
    why: str | None,
    stop: StopRequest | None,
    so_far: Progress,
) -> Ended | Requeued | None:
    """What to write down; None when the lead's own end stands, or Slurm has the word. Pure.

    ``job_state``: Slurm's word now. ``why``: the reason of the last stop that the lead asked for.
    """
    if history.state.is_final or job_state != _RUNNING:
        return None
    if (cancelled := by_cancel(stop)) is not None:
        return cancelled
    if why is None and history.lead_end is not None and stop is not None:
        why = stop.reason  # the lead found it there when it began
    if why == "time" and "time" in asked.restart_on and history.lead_end is not None:
        return _after_time(asked, history, so_far)
    event = what_next(asked, history, so_far)
    if why != "requeue" or (isinstance(event, Ended) and event.state == State.COMPLETED):
        return event
    by = "" if stop is None else f" by {stop.by}"
    return Requeued(reason=why, detail=f"stopped ({why}){by}")


def what_next(asked: Submission, history: History, so_far: Progress) -> Ended | Requeued | None:
    """The verdict, and the loop guard: a run that loses its nodes at the same step again and again,
    or before an attempt begins, is not queued again for ever."""
    event = verdict(asked, history, lead_error=None)
    if not isinstance(event, Requeued) or event.reason != "node":
        return event
    unstarted, refusal = history.unstarted, None
    if so_far.vain >= VAIN_MAX:
        refusal = _vain(so_far)
    elif unstarted >= min(VAIN_MAX, asked.restarts_max + 1):
        refusal = f"no attempt began in {unstarted} places in a row"
    if refusal is None:
        return event
    return Ended(state=State.NODE_FAIL, exit_code=1, detail=f"{event.detail}; {refusal}")


def _after_time(asked: Submission, history: History, so_far: Progress) -> Ended | Requeued:
    """Again while it gets further; a program that tells no step, as often as restart.max."""
    detail, refusal = "stopped (time)", None
    if so_far.vain >= VAIN_MAX:
        refusal = _vain(so_far)
    elif so_far.furthest < 0 and len(history.attempts) > asked.restarts_max:
        refusal = f"{asked.restarts_max} of {asked.restarts_max} restarts are used"
    if refusal is None:
        return Requeued(reason="time", detail=detail)
    return Ended(state=State.TIMEOUT, exit_code=EXIT_TIMEOUT, detail=f"{detail}; {refusal}")


def _vain(so_far: Progress) -> str:
    return f"{so_far.vain} attempts in a row got no further than step {so_far.furthest}"


def _said(bad: Mapping[str, str], excluded: Exclusion | None) -> str:
    names = ", ".join(sorted(bad))
    if excluded is None:
        return f"not enough other nodes to keep away from {names}"
    return f"keeps away from {names}"


def why_stopped(lead: Iterable[Entry]) -> str | None:
    """The present lead."""
    reason = None
    for entry in lead:
        if isinstance(entry.event, LeadStarted):
            reason = None
        elif isinstance(entry.event, StopAsked):
            reason = entry.event.reason
    return reason


def _job(job_id: str) -> dict[str, str]:
    """Nothing when Slurm does not answer: it will refuse what it must not do."""
    try:
        return parse_fields(call(commands.show_job(job_id)))[0]
    except (HeadraceError, IndexError):
        return {}


def _nodes() -> list[NodeRow]:
    try:
        return parse_nodes(call(commands.sinfo()))
    except HeadraceError:
        return []


def requeue(
    run: RunDir,
    job_id: str,
    environ: Mapping[str, str],
    excluded: Exclusion | None,
    *,
    attempt: int,
) -> Ended | None:
    """None when Slurm has queued it again, or has begun to end it; else why it is over.

    Slurm kills this process soon after it has agreed, but not before KillWait: we ignore its
    SIGTERM. The job does not start again in that time. What Slurm has agreed to may be said too
    late, so it is asked what it made of the job before we ask again.
    """
    refusals, until_s, problem = 0, time.monotonic() + _ASKS_S, ""
    while refusals < _REFUSALS and time.monotonic() < until_s:
        if (cancelled := by_cancel(read_stop(run))) is not None:
            return cancelled
        try:
            call(commands.requeue(job_id))
        except HeadraceError as error:
            problem, refusals = error.why, refusals + (not isinstance(error, SlurmUnreachable))
            job = _job(job_id)
            if _IS_QUEUED not in problem and (not job or is_theirs(job, environ)):
                time.sleep(_PAUSE_S)
                continue
        if excluded is not None:
            _exclude(run, job_id, attempt, excluded)
        return None
    detail = f"Slurm would not queue it again: {problem}"
    return Ended(state=State.FAILED, exit_code=1, detail=detail)


def _allow_requeue(job_id: str) -> None:
    """Of one submitted with --no-requeue. A refusal shows when it is to be queued again."""
    with contextlib.suppress(HeadraceError):
        call(commands.allow_requeue(job_id))


def is_theirs(job: Mapping[str, str], environ: Mapping[str, str]) -> bool:
    """Whether Slurm has not ended the job or begun it anew since this process was started. Pure."""
    same_start = job.get("Restarts") == environ.get("SLURM_RESTART_COUNT", "0")
    return job.get("JobState") == _RUNNING and same_start


def by_cancel(stop: StopRequest | None) -> Ended | None:
    """The end of a run that its user cancelled while it was on its way back to the queue. Pure."""
    if stop is None or stop.reason != "cancel":
        return None
    detail = f"cancelled by {stop.by}"
    return Ended(state=State.CANCELLED, exit_code=EXIT_INTERRUPTED, detail=detail)


def _exclude(run: RunDir, job_id: str, attempt: int, excluded: Exclusion) -> None:
    try:
        call(commands.exclude(job_id, excluded.nodes, excluded.comment))
    except HeadraceError as error:
        text = f"Slurm would not exclude {', '.join(excluded.nodes)}: {error.why}"
        write_event(run, "batch", Noted(level="warning", text=text), attempt=attempt)
