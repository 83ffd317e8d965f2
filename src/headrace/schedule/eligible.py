"""What keeps a run from being considered at all, whatever is free: holds, begin times, others."""

from collections.abc import Iterator, Mapping

from headrace.core.states import State
from headrace.schedule.queue import Queued
from headrace.schedule.reason import Dependency, Hopeless, NotBefore, OnHold, Reason


def why_later(job: Queued, now_s: float, ended: Mapping[str, State]) -> Reason | None:
    """None: it is in the queue. ``ended`` overrides what the job knew of runs it waits for."""
    return next(all_why_later(job, now_s, ended), None)


def all_why_later(job: Queued, now_s: float, ended: Mapping[str, State]) -> Iterator[Reason]:
    """All that keeps it, the first being what counts."""
    if job.held:
        yield OnHold()
    waits_for = []
    for after in job.after:
        state = ended.get(after.run_id, after.state)
        if state is not None and not state.is_final:
            waits_for.append(after.run_id)
            continue
        ok = state is State.COMPLETED
        if (after.condition, ok) in (("ok", False), ("notok", True)):
            word = "unknown" if state is None else state.value
            yield Hopeless(on=after.run_id, state=word, condition=after.condition)
    if waits_for:
        yield Dependency(waits_for=tuple(waits_for))
    if job.begin_s is not None and job.begin_s > now_s:
        yield NotBefore(begin_s=job.begin_s)
