"""EASY backfill (Lifka 1995): start later runs early, never delay the first that waits.

The head of the queue gets a reservation at its *shadow* time, when by their limits enough running
runs have ended. Another may start now if it ends by then, or leaves the head's nodes alone. Which
nodes the head will get is part of the reservation; counting them is not enough.
"""

from collections.abc import Iterable
from math import inf

from headrace.schedule.pool import Pool, nodes_of
from headrace.schedule.scheduler import Scheduler
from headrace.schedule.state import Waiting


class Easy:
    """Remembers the head's reservation until something is given back or the head changes."""

    wake_s = inf

    def __init__(self) -> None:
        self._head: Waiting | None = None
        self.shadow_s = inf
        self._taken = 0
        self._after: Pool | None = None  # what is free at the shadow time beside the head
        self._spare: Pool | None = None  # what of the free may be held beyond it
        self._spare_stamp = -1

    def walk(self, scheduler: Scheduler, now_s: float) -> None:
        queue = scheduler.candidates()
        overtaken = False
        for head in queue:
            demand = scheduler.at(head, now_s)
            grants = None
            if head.least <= scheduler.room(demand):
                grants = scheduler.fit(head, demand, scheduler.pool)
            if grants is None:
                rest: Iterable[Waiting] = queue
                if head is self._head and not scheduler.released and not overtaken:
                    rest = scheduler.fresh
                else:
                    self._reserve(scheduler, head, now_s)
                self._backfill(scheduler, rest, now_s)
                break
            scheduler.start(head, grants, now_s)
            overtaken = True
        scheduler.drop_started()

    def _reserve(self, scheduler: Scheduler, head: Waiting, now_s: float) -> None:
        """Find the head's shadow time and nodes."""
        self._head, self._spare_stamp = head, -1
        self._after = pool = scheduler.pool.copy()
        for time_s in self._times_s(scheduler, pool, now_s):
            demand = scheduler.at(head, time_s)
            if pool.room(demand.shape, demand.allowed) < head.least:
                continue
            taken = scheduler.fit(head, demand, pool)
            if taken is not None:
                pool.take(taken)
                self.shadow_s, self._taken = time_s, nodes_of(taken)
                return
        self.shadow_s, self._taken = inf, 0  # more than the cluster has: in nobody's way

    def _times_s(self, scheduler: Scheduler, pool: Pool, now_s: float) -> Iterable[float]:
        """When more may be free; what ends by then has been given to ``pool``."""
        edges_s = [at_s for at_s in scheduler.calendar.edges_s() if at_s > now_s]
        ends = scheduler.ends
        position, count = 0, len(ends)
        while position < count or edges_s:
            time_s = ends[position].end_s if position < count else inf
            if edges_s and edges_s[0] < time_s:
                yield edges_s.pop(0)
                continue
            while position < count and ends[position].end_s <= time_s:
                pool.give(ends[position].grants)
                position += 1
            yield max(time_s, now_s)

    def _backfill(self, scheduler: Scheduler, rest: Iterable[Waiting], now_s: float) -> None:
        slack_s = self.shadow_s - now_s
        quick = scheduler.calendar.is_empty
        for waiting in rest:
            demand = waiting.demand if quick else scheduler.at(waiting, now_s)
            room = demand.room if demand.stamp == scheduler.stamp else scheduler.room(demand)
            if waiting.least > room or waiting is self._head:
                continue
            if waiting.checked and not scheduler.may_start(waiting):
                continue
            short = waiting.limit_s <= slack_s and waiting.limit_s < inf
            pool = scheduler.pool
            if not short:
                pool = self._beyond(scheduler)
                if demand.spare_stamp != scheduler.stamp:
                    demand.spare = pool.room(demand.shape, demand.allowed)
                    demand.spare_stamp = scheduler.stamp
                if waiting.least > demand.spare:
                    continue
            grants = scheduler.fit(waiting, demand, pool)
            if grants is None:
                continue
            scheduler.start(waiting, grants, now_s)
            if not short:
                assert self._after is not None, "the head has a reservation"
                self._after.take(grants)

    def _beyond(self, scheduler: Scheduler) -> Pool:
        """What is free now and stays free beside the head."""
        if self._spare is None or self._spare_stamp != scheduler.stamp:
            assert self._after is not None, "the head has a reservation"
            self._spare = scheduler.pool.floor(self._after, self._taken)
            self._spare_stamp = scheduler.stamp
        return self._spare
