"""EASY backfill (Lifka 1995): start later runs early, never delay the first that waits.

The head of the queue gets a reservation at its *shadow* time, when by their limits enough running
runs have ended. Another may start now if it ends by then, or leaves the head's nodes alone. Which
nodes the head will get is part of the reservation; counting them is not enough.
"""

from math import inf

from headrace.schedule.pool import Pool, nodes_of
from headrace.schedule.scheduler import Scheduler, Waiting


class Easy:
    """Remembers the head's reservation until something is given back or the head changes."""

    def __init__(self) -> None:
        self._head: Waiting | None = None
        self.shadow_s = inf
        self._taken = 0
        self._after: Pool | None = None  # what is free at the shadow time beside the head
        self._spare: Pool | None = None  # what of the free may be held beyond it
        self._spare_stamp = -1

    def walk(self, scheduler: Scheduler, now_s: float) -> None:
        begin = 0
        queue = scheduler.waiting
        while begin < len(queue):
            head = queue[begin]
            grants = None
            if head.least <= scheduler.room(head.demand):
                grants = scheduler.fit(head, scheduler.pool)
            if grants is None:
                break
            scheduler.start(head, grants, now_s)
            begin += 1
        if begin < len(queue):
            head = queue[begin]
            rest = queue[begin + 1 :]
            if not scheduler.released and head is self._head:
                rest = scheduler.fresh
            else:
                self._reserve(scheduler, head, now_s)
            self._backfill(scheduler, rest, now_s)
        if scheduler._begun:
            scheduler.drop_started()

    def _reserve(self, scheduler: Scheduler, head: Waiting, now_s: float) -> None:
        """Find the head's shadow time and nodes."""
        self._head = head
        demand, pool = head.demand, scheduler.pool.copy()
        ends = scheduler.ends
        position, count, room = 0, len(ends), scheduler.room(demand)
        self.shadow_s = inf
        while position < count and room < head.least:
            end_s = ends[position].end_s
            while position < count and ends[position].end_s <= end_s:
                pool.give(ends[position].grants)
                position += 1
            room = pool.room(demand.shape, demand.allowed)
            self.shadow_s = max(end_s, now_s)
        taken = scheduler.fit(head, pool) if room >= head.least else None
        if taken is None:  # more than the cluster has
            self.shadow_s, taken = inf, ()
        else:
            pool.take(taken)
        self._after, self._taken, self._spare_stamp = pool, nodes_of(taken), -1

    def _backfill(self, scheduler: Scheduler, rest: list[Waiting], now_s: float) -> None:
        slack_s = self.shadow_s - now_s
        for waiting in rest:
            demand = waiting.demand
            room = demand.room if demand.stamp == scheduler.stamp else scheduler.room(demand)
            if waiting.least > room or waiting.started:
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
            grants = scheduler.fit(waiting, pool)
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
