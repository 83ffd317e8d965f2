"""Preemption by requeue: who must stop so that a run of a QOS that may displace others starts.

Slurm's rules for PreemptType=preempt/qos: a QOS names those it preempts; a run that has not yet run
for its QOS's exempt time is left alone. Victims are of the lowest QOS priority, and among them the
youngest, so that the least work is lost; nobody is stopped who would not help.
"""

from typing import TYPE_CHECKING

from headrace.schedule.state import Active, Stop, Waiting

if TYPE_CHECKING:
    from headrace.schedule.pool import Pool
    from headrace.schedule.scheduler import Scheduler


def plan(scheduler: "Scheduler", now_s: float) -> None:
    """Stop the victims of every waiting run that may preempt and does not fit."""
    after = None
    for waiting in scheduler.waiting:
        if not waiting.preempts:
            break
        if waiting.checked and not scheduler.may_start(waiting):
            continue
        if after is None:
            after = scheduler.pool.copy()
            for active in scheduler.active.values():
                if active.stopping:
                    after.give(active.grants)
        demand = scheduler.at(waiting, now_s)
        victims = _victims(scheduler, waiting, after, now_s)
        grants = scheduler.fit(waiting, demand, after)
        if grants is not None:
            after.take(grants)
            for active in victims:
                _stop(scheduler, active, waiting, now_s)


def _victims(scheduler: "Scheduler", waiting: Waiting, after: "Pool", now_s: float) -> list[Active]:
    """The fewest that make room; their nodes are given to ``after``. None helps: none stops."""
    demand = scheduler.at(waiting, now_s)
    if after.room(demand.shape, demand.allowed) >= waiting.least:
        return []
    chosen: list[Active] = []
    for active in _preemptable(scheduler, waiting, now_s):
        before = after.room(demand.shape, demand.allowed)
        after.give(active.grants)
        chosen.append(active)
        if before < waiting.least <= after.room(demand.shape, demand.allowed):
            break
    else:
        for active in chosen:
            after.take(active.grants)
        return []
    for active in list(chosen):
        after.take(active.grants)
        if after.room(demand.shape, demand.allowed) >= waiting.least:
            chosen.remove(active)
        else:
            after.give(active.grants)
    return chosen


def _preemptable(scheduler: "Scheduler", waiting: Waiting, now_s: float) -> list[Active]:
    preempts = scheduler.qos[waiting.job.qos].preempts
    found = []
    for active in scheduler.active.values():
        qos = scheduler.qos.get(active.job.qos)
        if active.stopping or qos is None or qos.name not in preempts:
            continue
        if now_s - active.started_s >= qos.exempt_s:
            found.append((qos.priority, -active.started_s, active.rank[1], active))
    return [active for *_, active in sorted(found, key=lambda item: item[:3])]


def _stop(scheduler: "Scheduler", active: Active, waiting: Waiting, now_s: float) -> None:
    grace_s = scheduler.qos[active.job.qos].grace_s
    stop = Stop(active.job.id, "preempt", waiting.job.id, grace_s)
    scheduler.stop(active, stop, now_s)
