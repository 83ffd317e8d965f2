"""What keeps a run from being considered at all, whatever is free: holds, begin times, others."""

from collections.abc import Mapping

from headrace.core.states import State
from headrace.schedule.queue import Queued
from headrace.schedule.reason import Dependency, Hopeless, NotBefore, OnHold, Reason


def why_later(job: Queued, now_s: float, ended: Mapping[str, State]) -> Reason | None:
    """None: it is in the queue. ``ended`` overrides what the job knew of runs it waits for."""
    if job.held:
        return OnHold()
    waits_for = []
    for after in job.after:
        state = ended.get(after.run_id, after.state)
        if state is not None and not state.is_final:
            waits_for.append(after.run_id)
            continue
        ok = state is State.COMPLETED
        if (after.condition, ok) in (("ok", False), ("notok", True)):
            word = "unknown" if state is None else state.value
            return Hopeless(on=after.run_id, state=word, condition=after.condition)
    if waits_for:
        return Dependency(waits_for=tuple(waits_for))
    if job.begin_s is not None and job.begin_s > now_s:
        return NotBefore(begin_s=job.begin_s)
    return None
