"""Preemption by requeue: who must stop so that a run of a QOS that may displace others starts.

Slurm's rules for PreemptType=preempt/qos: a QOS names those it preempts; a run that has not yet run
for its QOS's exempt time is left alone. Victims are of the lowest QOS priority, and among them the
youngest, so that the least work is lost; nobody is stopped who would not help. A run that even
preemption cannot start keeps its nodes from those behind it.
"""

from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING

from headrace.schedule.cluster import Qos
from headrace.schedule.state import Active, Demand, Stop, Waiting

if TYPE_CHECKING:
    from headrace.schedule.pool import Pool
    from headrace.schedule.scheduler import Scheduler


def plan(scheduler: "Scheduler", now_s: float) -> None:
    """Stop the victims of every waiting run that may preempt and does not fit."""
    after, closed = None, 0
    planned: list[Waiting] = []
    for waiting in scheduler.waiting:
        if not waiting.preempts and waiting.job.resize_to is None:
            break
        if waiting.checked and not scheduler.may_start(waiting):
            continue
        if waiting.demand.allowed & closed:
            continue
        if after is None:
            after = scheduler.after_stops()
        demand = scheduler.at(waiting, now_s)
        victims = []
        if waiting.preempts:
            preemptable = _preemptable(scheduler, waiting, now_s)
            victims = least_victims(after, demand, waiting.least, preemptable)
        grants = scheduler.fit(waiting, demand, after)
        planned.append(waiting)
        if grants is None or (victims and not _all_start(scheduler, planned, victims, now_s)):
            planned.pop()
            for active in victims:
                after.take(active.grants)
            closed |= waiting.demand.allowed
            continue
        after.take(grants)
        for active in victims:
            grace_s = scheduler.qos[active.job.qos].grace_s
            scheduler.stop(active, Stop(active.job.id, "preempt", waiting.job.id, grace_s), now_s)


def _all_start(
    scheduler: "Scheduler", planned: list[Waiting], victims: list[Active], now_s: float
) -> bool:
    """Whether all still fit, one after the other, when these victims are gone as well."""
    pool = scheduler.after_stops()
    for active in victims:
        pool.give(active.grants)
    for waiting in planned:
        grants = scheduler.fit(waiting, scheduler.at(waiting, now_s), pool)
        if grants is None:
            return False
        pool.take(grants)
    return True


def wake_s(scheduler: "Scheduler", now_s: float) -> float:
    """When the exempt time of a run that somebody who waits may preempt is next over."""
    wanted = {
        name
        for waiting in scheduler.waiting
        if waiting.preempts
        for name in scheduler.qos[waiting.job.qos].preempts
    }
    ends = (
        active.started_s + scheduler.qos[active.job.qos].exempt_s
        for active in (scheduler.active.values() if wanted else ())
        if active.job.qos in wanted and active.job.qos in scheduler.qos
    )
    return min((at_s for at_s in ends if at_s > now_s), default=inf)


def least_victims(
    after: "Pool", demand: Demand, least: int, preemptable: Iterable[Active]
) -> list[Active]:
    """Of ``preemptable``, the first that make room, less those that do not help.

    Their nodes are given to ``after``. No number of them makes room, or it is there: none.
    """
    shape, allowed = demand.shape, demand.allowed
    if after.room(shape, allowed) >= least:
        return []
    chosen: list[Active] = []
    for active in preemptable:
        after.give(active.grants)
        chosen.append(active)
        if after.room(shape, allowed) >= least:
            break
    else:
        for active in chosen:
            after.take(active.grants)
        return []
    for active in list(chosen):
        after.take(active.grants)
        if after.room(shape, allowed) >= least:
            chosen.remove(active)
        else:
            after.give(active.grants)
    return chosen


def _preemptable(scheduler: "Scheduler", waiting: Waiting, now_s: float) -> list[Active]:
    mine = scheduler.qos[waiting.job.qos]
    found = []
    for active in scheduler.active.values():
        qos = scheduler.qos.get(active.job.qos)
        if active.stop is not None or qos is None or not _may_displace(mine, qos):
            continue
        if now_s - active.started_s >= qos.exempt_s:
            found.append((qos.priority, -active.started_s, active.rank[1], active))
    return [active for *_, active in sorted(found, key=lambda item: item[:3])]


def _may_displace(mine: Qos, other: Qos) -> bool:
    """Two that name each other would displace each other for ever."""
    return other.name in mine.preempts and mine.name not in other.preempts
