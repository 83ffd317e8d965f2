"""What will be free, step by step from now on, and the first time a run fits through its limit."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from math import inf
from typing import NamedTuple

from headrace.schedule.pool import Grants, Pool, nodes_of
from headrace.schedule.scheduler import Scheduler
from headrace.schedule.state import Demand, Waiting


class Booking(NamedTuple):
    """Nodes kept from ``start_s`` to ``end_s``."""

    start_s: float
    end_s: float
    grants: Grants

    def __deepcopy__(self, memo: dict[int, object]) -> "Booking":
        return self


class _Earliest:
    """When runs that ask for the same have been found to fit at the earliest, by their limits.

    As long as nothing is given back, no longer one can fit before. Both ascend.
    """

    def __init__(self) -> None:
        self.limits_s: list[float] = []
        self.starts_s: list[float] = []

    def start_s(self, limit_s: float) -> float:
        index = bisect_right(self.limits_s, limit_s)
        return self.starts_s[index - 1] if index else -inf

    def note(self, limit_s: float, start_s: float) -> None:
        index = end = bisect_left(self.limits_s, limit_s)
        while end < len(self.starts_s) and self.starts_s[end] <= start_s:
            end += 1
        self.limits_s[index:end] = [limit_s]
        self.starts_s[index:end] = [start_s]


class Profile:
    """Pools over time: ``pools[i]`` holds from ``times_s[i]`` on, the last one for ever.

    ``drops[i]``: something may be taken then. At any other time there is no less than before.
    """

    def __init__(self, pool: Pool, now_s: float, held: Iterable[tuple[float, Grants]] = ()) -> None:
        """``held``: (end, grants) of what runs now, by end."""
        self.times_s = [now_s]
        self.pools = [pool.copy()]
        self.drops = [True]
        self._lasting: set[float] = set()
        self._earliest: dict[tuple[Demand, int], _Earliest] = {}
        for end_s, grants in held:
            if end_s == inf:
                break
            if end_s > self.times_s[-1]:
                self.times_s.append(end_s)
                self.pools.append(self.pools[-1].copy())
                self.drops.append(False)
            self.pools[-1].give(grants)

    def advance(self, now_s: float) -> None:
        """Forget what is past."""
        index = bisect_left(self.times_s, now_s)
        if index == len(self.times_s) or self.times_s[index] > now_s:
            index -= 1
        if index > 0:
            del self.times_s[:index], self.pools[:index], self.drops[:index]
        self.times_s[0] = now_s

    def book(self, booking: Booking) -> None:
        for pool in self._taking(booking):
            pool.take(booking.grants)

    def close(self, booking: Booking) -> None:
        """Book its nodes with all that is free of them; of divisible ones no more than it needs."""
        whole = nodes_of(booking.grants) & ~self.pools[0].kinds.divisible
        part = tuple(grant for grant in booking.grants if not grant.nodes & whole)
        for pool in self._taking(booking):
            pool.drop(whole)
            if part:
                pool.take(part)

    def cancel(self, booking: Booking) -> None:
        """Undo ``book``, for the part that is not yet past."""
        self._earliest.clear()
        for pool in self._between(booking.start_s, booking.end_s):
            pool.give(booking.grants)
        self._merge(booking.start_s)
        self._merge(booking.end_s)

    def _merge(self, time_s: float) -> None:
        """Forget the step that begins then if it is the same as the one before."""
        index = bisect_left(self.times_s, time_s)
        if 0 < index < len(self.times_s) and time_s not in self._lasting:
            if self.times_s[index] != time_s:
                return
            self.drops[index] = True  # another may begin where the cancelled one had ended
            if self.pools[index].levels == self.pools[index - 1].levels:
                del self.times_s[index], self.pools[index], self.drops[index]

    def _taking(self, booking: Booking) -> Sequence[Pool]:
        pools = self._between(booking.start_s, booking.end_s)
        self.drops[bisect_left(self.times_s, booking.start_s)] = True
        return pools

    def _between(self, start_s: float, end_s: float) -> Sequence[Pool]:
        first = self._split(start_s)
        return self.pools[first : len(self.pools) if end_s == inf else self._split(end_s)]

    def _split(self, time_s: float) -> int:
        """The index of the step that begins at ``time_s``, made if need be; the past is now."""
        index = bisect_left(self.times_s, time_s)
        if index == len(self.times_s) or (self.times_s[index] != time_s and index > 0):
            self.times_s.insert(index, time_s)
            self.pools.insert(index, self.pools[index - 1].copy())
            self.drops.insert(index, False)
        return index

    def split_at(self, times_s: Iterable[float]) -> None:
        """Let a step begin at each of these times that is not past, whatever is free then."""
        for time_s in times_s:
            if time_s > self.times_s[0]:
                self._lasting.add(time_s)
                self._split(time_s)

    def first_fit(
        self, waiting: Waiting, scheduler: Scheduler, *, latest_s: float = inf
    ) -> Booking | None:
        """Where the run first fits for as long as its limit, beginning by ``latest_s``."""
        times_s, least, demand = self.times_s, waiting.least, waiting.demand
        always = scheduler.calendar.is_empty and waiting.job.reservation is None
        begin, earliest = 0, _Earliest()
        if always:
            earliest = self._earliest.setdefault((demand, least), earliest)
            begin = bisect_left(times_s, earliest.start_s(waiting.limit_s))
        while begin < len(times_s) and times_s[begin] <= latest_s:
            start_s = times_s[begin]
            if not always:
                demand = scheduler.at(waiting, start_s)
            if self.pools[begin].room(demand.shape, demand.allowed) < least:
                begin += 1
                continue
            end_s = start_s + waiting.limit_s
            window, blocked = self._through(begin, end_s, demand, least)
            if window is not None:
                grants = scheduler.fit(waiting, demand, window)
                if grants is not None:
                    earliest.note(waiting.limit_s, start_s)
                    return Booking(start_s, end_s, grants)
            begin = (blocked if always else begin) + 1
        earliest.note(waiting.limit_s, latest_s)
        return None

    def _through(
        self, begin: int, end_s: float, demand: Demand, least: int
    ) -> tuple[Pool | None, int]:
        """What is free from a step until then, or the step at which that is too little.

        A step that has too little by itself is in the way of all that begin before it.
        """
        window, shape, allowed = self.pools[begin], demand.shape, demand.allowed
        for step in range(begin + 1, bisect_left(self.times_s, end_s)):
            if self.drops[step]:
                if self.pools[step].room(shape, allowed) < least:
                    return None, step
                window = window.floor(self.pools[step], allowed)
                if window.room(shape, allowed) < least:
                    return None, begin
        return window, begin
