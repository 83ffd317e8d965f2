"""Elastic runs, ``nodes: 2-8``: shrunk when others wait, grown when nobody does.

A resize is a stop and a new start at the other width. Shrinking takes as few runs as make room for
the head of the queue, and never below ``nodes_min``; growing uses only what nobody who waits could
use now. A run that was just started or resized is left alone for a while (``Elastic.rest_s``).
"""

from math import inf
from typing import TYPE_CHECKING

from headrace.schedule.pool import Grants, Pool
from headrace.schedule.state import Active, Demand, Stop, Waiting

if TYPE_CHECKING:
    from headrace.schedule.scheduler import Scheduler


def plan(scheduler: "Scheduler", now_s: float) -> None:
    """Add resizes to ``scheduler.stops``."""
    runs = [
        active
        for active in scheduler.active.values()
        if is_elastic(active) and now_s - active.started_s >= scheduler.cluster.elastic.rest_s
    ]
    if not runs:
        return
    head = next(scheduler.candidates(), None)
    if head is not None:
        _shrink(scheduler, runs, head, now_s)
    elif not scheduler.begun:
        _grow(scheduler, runs, now_s)


def is_elastic(active: Active) -> bool:
    request = active.job.request
    return request.nodes_max > request.nodes_min and active.stop is None


def wake_s(scheduler: "Scheduler", now_s: float) -> float:
    """When the next elastic run has rested."""
    rest_s = scheduler.cluster.elastic.rest_s
    rested = (
        active.started_s + rest_s for active in scheduler.active.values() if is_elastic(active)
    )
    return min((at_s for at_s in rested if at_s > now_s), default=inf)


def _shrink(scheduler: "Scheduler", runs: list[Active], head: Waiting, now_s: float) -> None:
    """Make room for the head out of what runs hold beyond their least, widest first."""
    demand, after = scheduler.at(head, now_s), scheduler.after_stops()
    narrowed: dict[Active, Grants] = {}
    runs.sort(key=lambda active: active.job.request.nodes_min - active.slices)
    for active in runs:
        least = active.job.request.nodes_min
        if after.room(demand.shape, demand.allowed) >= head.least:
            break
        if least < active.slices:
            narrowed[active] = _held(scheduler, after, active, active.grants, least)
    if after.room(demand.shape, demand.allowed) < head.least:
        return
    for active, grants in narrowed.items():
        slices = _widest(scheduler, after, active, grants, demand, head.least)
        if slices < active.slices:
            _resize(scheduler, active, slices, head.job.id, now_s)


def _widest(
    scheduler: "Scheduler",
    after: Pool,
    active: Active,
    grants: Grants,
    demand: Demand,
    least: int,
) -> int:
    """The most slices that the run, at ``grants`` in ``after``, can keep beside the head."""
    for slices in range(active.slices, active.job.request.nodes_min, -1):
        grants = _held(scheduler, after, active, grants, slices)
        if after.room(demand.shape, demand.allowed) >= least:
            return slices
    _held(scheduler, after, active, grants, active.job.request.nodes_min)
    return active.job.request.nodes_min


def _held(
    scheduler: "Scheduler", after: Pool, active: Active, grants: Grants, slices: int
) -> Grants:
    """In ``after``, let the run hold ``slices`` instead of ``grants``."""
    after.give(grants)
    found = active.grants
    if slices < active.slices:
        found = scheduler.choose(after, active.demand, slices, slices) or active.grants
    after.take(found)
    return found


def _grow(scheduler: "Scheduler", runs: list[Active], now_s: float) -> None:
    """Give what is idle to the run that started first."""
    after = scheduler.after_stops()
    for active in sorted(runs, key=lambda active: active.rank[1]):
        most = active.job.request.nodes_max
        if active.slices >= most:
            continue
        demand = scheduler.within(active.job, active.demand, now_s, active.end_s)
        after.give(active.grants)
        room = after.room(demand.shape, demand.allowed)
        after.take(active.grants)
        slices = scheduler.widest(active.job, active.slices, min(room, most))
        if slices > active.slices:
            _resize(scheduler, active, slices, active.job.id, now_s)
            return


def _resize(scheduler: "Scheduler", active: Active, slices: int, by: str, now_s: float) -> None:
    scheduler.stop(
        active, Stop(active.job.id, "resize", by, scheduler.cluster.elastic.grace_s, slices), now_s
    )
