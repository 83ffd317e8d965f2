"""Why each run waits, in a scheduler that has decided.

Ranked: what must happen elsewhere first (holds, dependencies, begin times), limits, reservations,
what no node can ever hold, what is short now, who comes first. The first of a run is the one that
counts; it is cheap, since all runs that ask alike share their answers.
"""

from collections.abc import Iterator
from math import inf

from headrace.schedule.calendar import admits
from headrace.schedule.eligible import all_why_later, why_later
from headrace.schedule.pool import Pool, nodes_of, numbers
from headrace.schedule.queue import Queued
from headrace.schedule.reason import (
    ArrayThrottle,
    MakingRoom,
    NeverFits,
    NextPass,
    NodesDown,
    NoSuchNode,
    OwnReservation,
    Priority,
    Reason,
    Reserved,
    Resources,
)
from headrace.schedule.scheduler import Scheduler
from headrace.schedule.shortage import never_fits, shortage, with_holders
from headrace.schedule.state import Demand, Waiting

_NAMES = 4


def reasons(scheduler: Scheduler, run_id: str, now_s: float) -> tuple[Reason, ...]:
    """All reasons of a waiting run, with who holds what is short. None of any other run."""
    return Reasons(scheduler, now_s).of(run_id)


class _Ahead:
    """The runs that come before: the first of each set of nodes."""

    def __init__(self) -> None:
        self.count = 0
        self._firsts: dict[int, str] = {}

    def add(self, waiting: Waiting) -> None:
        self.count += 1
        self._firsts.setdefault(waiting.demand.allowed, waiting.job.id)

    def behind(self, allowed: int) -> str | None:
        """The first that may want these nodes."""
        for nodes, run_id in self._firsts.items():
            if nodes & allowed:
                return run_id
        return None


class Reasons:
    """The reasons in one state. The scheduler must not change while this is used."""

    def __init__(self, scheduler: Scheduler, now_s: float) -> None:
        self._scheduler = scheduler
        self._now_s = now_s
        self._quick = scheduler.calendar.is_empty
        self._short: dict[tuple[object, ...], Resources] = {}
        self._shared: dict[tuple[Demand, int], Reason] = {}
        self._stopping = [one for one in scheduler.ends if one.stopping]
        self._after: Pool | None = scheduler.after_stops() if self._stopping else None

    def each(self) -> Iterator[tuple[str, Reason]]:
        """Every run that waits, and the reason that counts."""
        scheduler, ahead = self._scheduler, _Ahead()
        for job in scheduler.later.values():
            later = why_later(job, self._now_s, scheduler.ended)
            yield job.id, later or NextPass(at_s=None)
        for job in scheduler.oversize.values():
            yield job.id, self._never(job, scheduler.sites.allowed(job))
        for waiting in scheduler.waiting:
            limit = self._limit(waiting) if waiting.checked else None
            if limit is not None:
                yield waiting.job.id, limit
                continue
            yield waiting.job.id, self._first(waiting, ahead)
            ahead.add(waiting)

    def of(self, run_id: str) -> tuple[Reason, ...]:
        """All reasons of one run, in detail. None of a run that does not wait."""
        scheduler = self._scheduler
        if run_id in scheduler.later:
            job = scheduler.later[run_id]
            found = tuple(all_why_later(job, self._now_s, scheduler.ended))
            return found or (NextPass(at_s=None),)
        if run_id in scheduler.oversize:
            job = scheduler.oversize[run_id]
            return (self._never(job, scheduler.sites.allowed(job)),)
        ahead = _Ahead()
        for waiting in scheduler.waiting:
            limit = self._limit(waiting) if waiting.checked else None
            if waiting.job.id == run_id:
                kept = [self._detailed(one, waiting) for one in self._kept(waiting, ahead)]
                if limit is not None:
                    kept = [limit, *(one for one in kept if not isinstance(one, NextPass))]
                return tuple(kept)
            if limit is None:
                ahead.add(waiting)
        return ()

    def _limit(self, waiting: Waiting) -> Reason | None:
        """What keeps a run from being a candidate. See ``Scheduler.may_start``."""
        scheduler, job = self._scheduler, waiting.job
        own = self._own_reservation(job)
        if own is not None:
            return own
        limit = job.array_throttle
        if limit is not None and scheduler.elements[job.array_id or job.id] >= limit:
            return ArrayThrottle(limit=limit)
        return None if scheduler.gate is None else scheduler.gate.blocked(job, waiting.least)

    def _first(self, waiting: Waiting, ahead: _Ahead) -> Reason:
        """The first of ``_kept``. Where nothing is reserved, those who ask alike share it."""
        if not self._quick or self._after is not None or waiting.job.reservation is not None:
            return next(self._kept(waiting, ahead))
        key = (waiting.demand, waiting.least)
        found = self._shared.get(key)
        if found is None:
            found = self._shared[key] = next(self._kept(waiting, _Ahead()))
        if isinstance(found, NextPass):
            behind = ahead.behind(waiting.demand.allowed)
            if behind is not None:
                return Priority(behind=behind, before=ahead.count)
        return found

    def _kept(self, waiting: Waiting, ahead: _Ahead) -> Iterator[Reason]:
        """What keeps a candidate, at least one."""
        scheduler, least = self._scheduler, waiting.least
        demand = scheduler.at(waiting, self._now_s)
        base = waiting.demand.allowed
        if not self._quick or waiting.job.reservation is not None:
            base = self._base(waiting)
            yield from self._reserved(waiting, base, demand.allowed)
        if scheduler.empty.room(demand.shape, base) < least:
            yield self._never(waiting.job, base)
            return
        room = scheduler.room(demand)
        behind = ahead.behind(base)
        if room < least:
            if behind is None and self._after is not None:
                yield from self._making_room(waiting, demand.allowed)
            able = scheduler.empty.room(demand.shape, demand.allowed) >= least
            if able or scheduler.pool.room(demand.shape, base) < least:
                yield self._shortage(waiting, demand.allowed if able else base)
        if behind is not None:
            yield Priority(behind=behind, before=ahead.count)
        elif room >= least:
            wake_s = scheduler.discipline.wake_s
            yield NextPass(at_s=None if wake_s in (inf, -inf) else wake_s)

    def _base(self, waiting: Waiting) -> int:
        """The nodes that it may ever have: those of its own reservation if it names one."""
        allowed = waiting.demand.allowed
        for entry, nodes in self._scheduler.calendar.entries:
            if entry.name == waiting.job.reservation:
                return allowed & nodes
        return allowed

    def _reserved(self, waiting: Waiting, base: int, usable: int) -> Iterator[Reason]:
        scheduler, shape, least = self._scheduler, waiting.demand.shape, waiting.least
        empty, pool = scheduler.empty, scheduler.pool
        if usable == base or pool.room(shape, usable) >= least:
            return
        if empty.room(shape, base) < least:
            return  # it would not help to have them
        if empty.room(shape, usable) >= least > pool.room(shape, base):
            return  # the others would do if they were free
        down = base & scheduler.calendar.down
        if down:
            yield NodesDown(nodes=self._names(down), count=down.bit_count())
        start_s, end_s = self._now_s, self._now_s + waiting.limit_s
        for entry, nodes in scheduler.calendar.entries:
            kept = nodes & base
            overlaps = entry.start_s < end_s and start_s < entry.end_s
            if kept and overlaps and entry.name != waiting.job.reservation:
                yield Reserved(
                    reservation=entry.name,
                    maintenance=entry.maintenance,
                    nodes=self._names(kept),
                    count=kept.bit_count(),
                    start_s=entry.start_s,
                    end_s=entry.end_s,
                )

    def _own_reservation(self, job: Queued) -> OwnReservation | None:
        """What is wrong with the one that it names."""
        name = job.reservation
        if name is None:
            return None
        for entry, _ in self._scheduler.calendar.entries:
            if entry.name != name:
                continue
            if not admits(entry, job):
                return OwnReservation(reservation=name, closed="for others")
            if self._now_s >= entry.end_s:
                return OwnReservation(reservation=name, closed="over")
            if self._now_s < entry.start_s:
                begin_s = entry.start_s
                return OwnReservation(reservation=name, closed="not begun", begin_s=begin_s)
            return None
        return OwnReservation(reservation=name, closed="unknown")

    def _names(self, nodes: int) -> tuple[str, ...]:
        specs = self._scheduler.cluster.nodes
        return tuple(specs[number].name for number in numbers(nodes)[:_NAMES])

    def _never(self, job: Queued, base: int) -> NoSuchNode | NeverFits:
        """Why it does not fit on these nodes even when nothing runs."""
        if not base:
            return NoSuchNode(partitions=job.partitions, constraint=job.constraint)
        return never_fits(job.request, self._scheduler.empty, base)

    def _shortage(self, waiting: Waiting, nodes: int) -> Resources:
        key = (waiting.demand.shape, nodes, waiting.least)
        found = self._short.get(key)
        if found is None:
            scheduler = self._scheduler
            found = shortage(waiting.job.request, scheduler.pool, scheduler.empty, nodes)
            self._short[key] = found
        return found

    def _making_room(self, waiting: Waiting, usable: int) -> Iterator[MakingRoom]:
        assert self._after is not None, "some are stopping"
        if self._after.room(waiting.demand.shape, usable) >= waiting.least:
            runs = [one.job.id for one in self._stopping if nodes_of(one.grants) & usable]
            yield MakingRoom(runs=tuple(runs))

    def _detailed(self, reason: Reason, waiting: Waiting) -> Reason:
        if not isinstance(reason, Resources):
            return reason
        scheduler = self._scheduler
        return with_holders(reason, scheduler.empty, self._base(waiting), scheduler.ends)
