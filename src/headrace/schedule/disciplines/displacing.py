"""Whoever stands in a higher queue runs: those of lower queues are stopped for it and come back.

All or nothing, in the order of ``orders.las``. A run is displaced only for one of a strictly higher
queue, so that those of one queue never take turns. Victims are of the lowest queue, and in it the
last that came; nobody is stopped who would not help.

For every queue it is known what would be free if all runs of the queues below were gone. That says
at once who can start; it is brought up to date as runs start, end and go down.
"""

from heapq import heappop, heappush
from math import inf

from headrace.schedule.orders.las import LeastService
from headrace.schedule.pool import Grants, Pool, nodes_of
from headrace.schedule.preempt import least_victims
from headrace.schedule.scheduler import Scheduler
from headrace.schedule.state import Active, Demand, Stop, Waiting


class Displacing:
    """``_pools``: by queue, the last being what is free. Those whom somebody was stopped for count
    as running already (``_planned``), those that were stopped as gone (``_leaving``).
    """

    def __init__(self) -> None:
        self.wake_s = inf
        self._pools: list[Pool] = []
        self._rooms: list[dict[Demand, int]] = []
        self._running: list[dict[Active, None]] = []  # by queue, in order of coming into it
        self._level: dict[Active, int] = {}
        self._leaving: set[Active] = set()
        self._planned: dict[Waiting, Grants] = {}
        self._crossings: list[tuple[float, int, Active]] = []

    def walk(self, scheduler: Scheduler, now_s: float) -> None:
        order = scheduler.order
        assert isinstance(order, LeastService), "queues are those of least attained service"
        if not self._pools or any(one.removed for one in self._planned):
            self._build(scheduler, order)
        for active in scheduler.gone:
            self._gone(active)
        lowest = self._demote(order, now_s)
        if order.promotion_s <= now_s and order.promote_due(scheduler.waiting, now_s):
            scheduler.reorder(now_s)
        for waiting in self._to_visit(scheduler, order, lowest):
            if not waiting.checked or scheduler.may_start(waiting):
                self._visit(scheduler, order, waiting, now_s)
            elif waiting in self._planned:
                self._build(scheduler, order)
        scheduler.drop_started()
        self._set_wake(scheduler, order)

    def _to_visit(self, scheduler: Scheduler, order: LeastService, lowest: int) -> list[Waiting]:
        """Those for whom something has changed; ``lowest``: queue that a run has left."""
        if scheduler.released:
            return scheduler.waiting
        if lowest < 0:
            return scheduler.fresh
        fresh = set(scheduler.fresh)
        return [
            one for one in scheduler.waiting if one in fresh or order.level(one.job.id) <= lowest
        ]

    def _visit(
        self, scheduler: Scheduler, order: LeastService, waiting: Waiting, now_s: float
    ) -> None:
        grants = self._planned.pop(waiting, None)
        if grants is not None:
            if scheduler.pool.holds(grants):
                self._enter(order, scheduler.start(waiting, grants, now_s), planned=True)
                return
            self._build(scheduler, order)
        level, demand = order.level(waiting.job.id), scheduler.at(waiting, now_s)
        if self._room(level, demand) < waiting.least:
            return
        free = self._pools[-1]
        grants = scheduler.fit(waiting, demand, free)
        if grants is not None and not self._planned and not self._leaving:
            self._enter(order, scheduler.start(waiting, grants, now_s))
            return
        if grants is None:
            after = free.copy()
            below = self._below(level, demand.allowed)
            victims = least_victims(after, demand, waiting.least, below)
            grants = scheduler.fit(waiting, demand, after)
            if grants is None:
                return
            for active in victims:
                self._gone(active)
                self._leaving.add(active)
                scheduler.stop(active, Stop(active.job.id, "preempt", waiting.job.id, 0.0), now_s)
        self._planned[waiting] = grants
        self._hold(level, grants)

    def _below(self, level: int, allowed: int) -> list[Active]:
        """Who may be stopped for one of this queue, in that order."""
        return [
            active
            for running in reversed(self._running[level + 1 :])
            for active in reversed(running)
            if active.stop is None and nodes_of(active.grants) & allowed
        ]

    def _room(self, level: int, demand: Demand) -> int:
        found = self._rooms[level].get(demand)
        if found is None:
            found = self._pools[level].room(demand.shape, demand.allowed)
            self._rooms[level][demand] = found
        return found

    # --- what would be free --------------------------------------------------------------------

    def _build(self, scheduler: Scheduler, order: LeastService) -> None:
        """Forget all plans."""
        self._pools = [scheduler.pool.copy() for _ in range(order.levels)]
        self._rooms = [{} for _ in range(order.levels)]
        self._running = [{} for _ in range(order.levels)]
        self._level, self._crossings = {}, []
        self._leaving, self._planned = set(), {}
        for active in scheduler.active.values():
            self._enter(order, active, planned=True)
            for pool in self._pools[: self._level[active]]:
                pool.give(active.grants)

    def _enter(self, order: LeastService, active: Active, *, planned: bool = False) -> None:
        """It runs; ``planned``: that was known before."""
        level = self._level[active] = order.level(active.job.id)
        self._running[level][active] = None
        if not planned:
            self._hold(level, active.grants)
        self._expect(order, active)

    def _hold(self, level: int, grants: Grants) -> None:
        for at in range(level, len(self._pools)):
            self._pools[at].take(grants)
            self._rooms[at].clear()

    def _gone(self, active: Active) -> None:
        if active in self._leaving:
            self._leaving.remove(active)
            return
        level = self._level.pop(active, None)
        if level is None:
            return
        del self._running[level][active]
        for at in range(level, len(self._pools)):
            self._pools[at].give(active.grants)
            self._rooms[at].clear()

    def _demote(self, order: LeastService, now_s: float) -> int:
        """Let runs go down whose service has passed a threshold. The lowest queue that one left."""
        lowest = -1
        while self._crossings and self._crossings[0][0] <= now_s:
            at_s, _, active = heappop(self._crossings)
            level = self._level.get(active)
            if level is None:
                continue
            del self._running[level][active]
            self._pools[level].give(active.grants)
            self._rooms[level].clear()
            lowest = max(lowest, level)
            level = self._level[active] = order.demote(active.job.id, at_s)
            self._running[level][active] = None
            self._expect(order, active)
        return lowest

    def _expect(self, order: LeastService, active: Active) -> None:
        crossing_s = order.crossing_s(active)
        if crossing_s < inf:
            heappush(self._crossings, (crossing_s, active.rank[1], active))

    def _set_wake(self, scheduler: Scheduler, order: LeastService) -> None:
        self.wake_s = inf
        if not scheduler.waiting:
            return
        while self._crossings and self._crossings[0][2] not in self._level:
            heappop(self._crossings)
        if self._crossings:
            self.wake_s = self._crossings[0][0]
        self.wake_s = min(self.wake_s, order.promotion_s)
