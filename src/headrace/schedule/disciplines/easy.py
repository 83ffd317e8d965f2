"""EASY backfill (Lifka 1995): start later runs early, never delay the first that waits.

The head of the queue gets a reservation at its *shadow* time, when by their limits enough running
runs have ended. Another may start now if it ends by then, or leaves the head's nodes alone. Which
nodes the head will get is part of the reservation; counting them is not enough.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import takewhile
from math import inf
from operator import attrgetter

from headrace.schedule.pool import Pool, nodes_of
from headrace.schedule.scheduler import Scheduler
from headrace.schedule.state import Waiting

_end_s = attrgetter("end_s")


class Easy:
    """Remembers the head's reservation; what ends early only brings it forward.

    The head is the first that waits and can start once what runs has ended: one that needs a node
    that is down keeps nothing from anybody.
    """

    wake_s = inf

    def __init__(self) -> None:
        self.head: Waiting | None = None
        self._epoch = -1
        self.shadow_s = inf
        self._taken = 0
        self._at: Pool | None = None  # what is free at the shadow time
        self._after: Pool | None = None  # the same beside the head
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
            if grants is not None:
                scheduler.start(head, grants, now_s)
                overtaken = True
                continue
            known = head is self.head and not overtaken and self._epoch == scheduler.epoch
            if known and not scheduler.released:
                self._backfill(scheduler, scheduler.fresh, now_s)
                break
            if known and self._at is not None and now_s < self.shadow_s:
                self._bring_forward(scheduler, head, self._at, now_s)
            elif not self._reserve(scheduler, head, now_s):
                continue
            self._backfill(scheduler, queue, now_s)
            break
        else:
            self.head, self.shadow_s = None, inf
        scheduler.drop_started()

    def _reserve(self, scheduler: Scheduler, head: Waiting, now_s: float) -> bool:
        """Find the head's shadow time and nodes, if there ever is one."""
        self.head, self._epoch = head, scheduler.epoch
        pool = scheduler.pool.copy()
        for time_s in self._times_s(scheduler, head, pool, now_s):
            demand = scheduler.at(head, time_s)
            if pool.room(demand.shape, demand.allowed) < head.least:
                continue
            if self._promise(scheduler, head, pool, time_s):
                return True
        return False

    def _promise(self, scheduler: Scheduler, head: Waiting, pool: Pool, time_s: float) -> bool:
        """Give the head its nodes out of what is free at that time, if they are enough."""
        taken = scheduler.fit(head, scheduler.at(head, time_s), pool)
        if taken is None:
            return False
        self._at, self._after = pool, pool.copy()
        self._after.take(taken)
        self.shadow_s, self._taken, self._spare_stamp = time_s, nodes_of(taken), -1
        return True

    def _bring_forward(self, scheduler: Scheduler, head: Waiting, pool: Pool, now_s: float) -> None:
        """Step back from the shadow time while the head fits before it.

        What was expected to end by then is in ``pool`` already, so that its early end changes
        nothing: before its expected end less was free than after it, and that was too little.
        """
        for active in scheduler.gone:
            if active.end_s > self.shadow_s:
                pool.give(active.grants)
        ends, time_s = scheduler.ends, self.shadow_s
        position = bisect_left(ends, time_s, key=_end_s)
        while position > 0:
            before = pool.copy()
            for active in takewhile(lambda one: one.end_s <= time_s, ends[position:]):  # noqa: B023
                before.take(active.grants)
            earlier_s = ends[position - 1].end_s
            demand = scheduler.at(head, max(earlier_s, now_s))
            if before.room(demand.shape, demand.allowed) < head.least:
                break
            pool, time_s = before, earlier_s
            position = bisect_left(ends, time_s, key=_end_s)
        promised = self._promise(scheduler, head, pool, max(time_s, now_s))
        assert promised, "what is free at the shadow time has only grown"

    def _times_s(
        self, scheduler: Scheduler, head: Waiting, pool: Pool, now_s: float
    ) -> Iterator[float]:
        """When enough may be free; what ends by then has been given to ``pool``.

        A node holds one slice, unless it is divisible: so many nodes must be given back before it
        is worth to look.
        """
        edges_s = [at_s for at_s in scheduler.calendar.edges_s() if at_s > now_s]
        counting = not edges_s and not pool.kinds.any_divisible
        missing = head.least - pool.room(head.demand.shape, head.demand.allowed)
        ends = scheduler.ends
        given, position, count = 0, 0, len(ends)
        while position < count or edges_s:
            time_s = ends[position].end_s if position < count else inf
            if edges_s and edges_s[0] < time_s:
                yield edges_s.pop(0)
                continue
            while position < count and ends[position].end_s <= time_s:
                missing -= ends[position].slices
                position += 1
            if not counting or missing <= 0 or position == count:
                pool.give_all(one.grants for one in ends[given:position])
                given = position
                yield max(time_s, now_s)
                if counting:
                    missing = head.least - pool.room(head.demand.shape, head.demand.allowed)

    def _backfill(self, scheduler: Scheduler, rest: Iterable[Waiting], now_s: float) -> None:
        slack_s = self.shadow_s - now_s
        quick = scheduler.calendar.is_empty
        for waiting in rest:
            demand = waiting.demand if quick else scheduler.at(waiting, now_s)
            room = demand.room if demand.stamp == scheduler.stamp else scheduler.room(demand)
            if waiting.least > room or waiting is self.head:
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
                if self._at is not None:
                    self._at.take(grants)

    def _beyond(self, scheduler: Scheduler) -> Pool:
        """What is free now and stays free beside the head."""
        if self._spare is None or self._spare_stamp != scheduler.stamp:
            assert self._after is not None, "the head has a reservation"
            self._spare = scheduler.pool.floor(self._after, self._taken)
            self._spare_stamp = scheduler.stamp
        return self._spare
