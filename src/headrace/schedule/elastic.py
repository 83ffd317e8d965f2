"""Elastic runs, ``nodes: 2-8``: shrunk when others wait, grown when nobody does.

A resize is a stop and a new start at the other width. Shrinking takes as few runs as make room for
the head of the queue, and never below ``nodes_min``; growing uses only what nobody who waits could
use now. A run that was just started or resized is left alone for a while (``Elastic.rest_s``).
"""

from typing import TYPE_CHECKING

from headrace.schedule.pool import Grant, Grants
from headrace.schedule.state import Active, Stop

if TYPE_CHECKING:
    from headrace.schedule.scheduler import Scheduler


def plan(scheduler: "Scheduler", now_s: float) -> None:
    """Add resizes to ``scheduler.stops``."""
    runs = [
        active
        for active in scheduler.active.values()
        if active.job.request.nodes_max > active.job.request.nodes_min
        and not active.stopping
        and now_s - active.since_s >= scheduler.cluster.elastic.rest_s
    ]
    if not runs:
        return
    head = next(scheduler.candidates(), None)
    if head is not None:
        _shrink(scheduler, runs, now_s)
    elif not scheduler.begun:
        _grow(scheduler, runs, now_s)


def wake_s(scheduler: "Scheduler", now_s: float) -> float:
    """When the next elastic run has rested."""
    rested = (
        active.since_s + scheduler.cluster.elastic.rest_s
        for active in scheduler.active.values()
        if active.job.request.nodes_max > active.job.request.nodes_min and not active.stopping
    )
    return min((at_s for at_s in rested if at_s > now_s), default=float("inf"))


def _shrink(scheduler: "Scheduler", runs: list[Active], now_s: float) -> None:
    """Make room for the head out of what runs hold beyond their least."""
    head = next(scheduler.candidates())
    demand = scheduler.at(head, now_s)
    after = scheduler.pool.copy()
    for active in scheduler.active.values():
        if active.stopping:
            after.give(active.grants)
    if after.room(demand.shape, demand.allowed) >= head.least:
        return
    wide = sorted(runs, key=lambda active: active.slices - active.job.request.nodes_min)
    chosen: list[tuple[Active, int]] = []
    for active in reversed(wide):
        surplus = active.slices - active.job.request.nodes_min
        given = 0
        while given < surplus and after.room(demand.shape, demand.allowed) < head.least:
            given += 1
            after.give(part(active.grants, given - 1, given))
        if given:
            chosen.append((active, active.slices - given))
    if after.room(demand.shape, demand.allowed) < head.least:
        return
    for active, slices in chosen:
        _resize(scheduler, active, slices, head.job.id, now_s)


def _grow(scheduler: "Scheduler", runs: list[Active], now_s: float) -> None:
    """Give what is idle to the run that started first."""
    after = scheduler.pool.copy()
    for active in sorted(runs, key=lambda active: active.rank[1]):
        wanted = active.job.request.nodes_max
        if active.slices >= wanted:
            continue
        after.give(active.grants)
        room = after.room(active.demand.shape, active.demand.allowed)
        after.take(active.grants)
        if room > active.slices:
            _resize(scheduler, active, min(room, wanted), active.job.id, now_s)
            return


def _resize(scheduler: "Scheduler", active: Active, slices: int, by: str, now_s: float) -> None:
    stop = Stop(active.job.id, "resize", by, scheduler.cluster.elastic.grace_s, slices)
    scheduler.stop(active, stop, now_s)


def part(grants: Grants, first: int, end: int) -> Grants:
    """The slices from ``first`` to ``end`` of a run's grants, counted from the last node back."""
    found, count = [], 0
    for grant in reversed(grants):
        amounts = tuple(amount // grant.slices for amount in grant.take)
        nodes = grant.nodes
        while nodes:
            bit = 1 << (nodes.bit_length() - 1)
            nodes ^= bit
            for _ in range(grant.slices):
                if first <= count < end:
                    found.append(Grant(bit, 1, amounts))
                count += 1
    return tuple(found)
