"""Slurm's two schedulers, set as ``Cluster.scheduling`` says.

The main loop, at every event: the first ``default_queue_depth`` runs in order; the first of a
partition that does not fit closes the partition's nodes to all behind. Every ``sched_interval`` it
goes through the whole queue.

The backfill, every ``bf_interval``: for each of the first ``bf_max_job_test`` runs the earliest
start within ``bf_window``, given the limits of what runs and the reservations made so far. What
starts now, starts; any other reserves whole nodes, even for part of them. What runs is expected to
end by its limit, at the next multiple of ``bf_resolution``. So it is conservative backfill cut to a
depth and a window, made anew each time: a reservation can move.

Both clocks tick at multiples of their interval. A round that could change nothing is left out.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from math import ceil, inf

from headrace.schedule.orders.multifactor import FairShare
from headrace.schedule.profile import Profile
from headrace.schedule.scheduler import Scheduler
from headrace.schedule.slurm_scheduling import SlurmScheduling
from headrace.schedule.state import Waiting


class Slurm:
    """``_main_s``, ``_backfill_s``: when the next full round is due; infinity is not before
    something changes.
    """

    def __init__(self) -> None:
        self.wake_s = inf
        self._main_s = self._backfill_s = inf

    def walk(self, scheduler: Scheduler, now_s: float) -> None:
        settings = scheduler.cluster.scheduling
        if scheduler.released or scheduler.fresh:
            self._main_s = min(self._main_s, _tick(now_s, settings.sched_interval_s))
            if settings.backfill:
                self._backfill_s = min(self._backfill_s, _tick(now_s, settings.bf_interval_s))
            _main(scheduler, now_s, settings.default_queue_depth)
        if now_s >= self._main_s:
            self._main_s = inf
            _main(scheduler, now_s, len(scheduler.waiting))
        scheduler.drop_started()
        if not scheduler.waiting:
            self._main_s = self._backfill_s = inf
        if now_s >= self._backfill_s:
            self._backfill_s = inf
            _backfill(scheduler, settings, now_s)
            scheduler.drop_started()
        self.wake_s = min(self._main_s, self._backfill_s)


def _tick(now_s: float, interval_s: float) -> float:
    return ceil(now_s / interval_s) * interval_s if interval_s > 0 else now_s


def _main(scheduler: Scheduler, now_s: float, depth: int) -> None:
    closed, everywhere = 0, scheduler.sites.everywhere
    for waiting in scheduler.waiting[:depth]:
        if waiting.started or waiting.demand.allowed & closed:
            continue
        if waiting.checked and not scheduler.may_start(waiting):
            continue
        demand, grants = scheduler.at(waiting, now_s), None
        if waiting.least <= scheduler.room(demand):
            grants = scheduler.fit(waiting, demand, scheduler.pool)
        if grants is not None:
            scheduler.start(waiting, grants, now_s)
        elif waiting.job.reservation is None:
            closed |= scheduler.sites.partitions_of(waiting.job)
            if closed == everywhere:
                break


def _backfill(scheduler: Scheduler, settings: SlurmScheduling, now_s: float) -> None:
    """One round, up to the last run that could start now: what is kept for those behind it is
    kept from nobody, as the next round begins anew.
    """
    tested = list(_tested(scheduler, settings))
    last = _last_that_fits(scheduler, tested, len(tested), now_s)
    if last == 0:
        return
    latest_s, grain_s = now_s + settings.bf_window_s, settings.bf_resolution_s
    soon_s = _tick(now_s + 1, grain_s)
    held = [
        (max(_tick(active.end_s, grain_s), soon_s), active.grants)
        for active in scheduler.ends
        if active.end_s <= latest_s
    ]
    profile = Profile(scheduler.pool, now_s, held)
    profile.split_at(at_s for at_s in scheduler.calendar.edges_s() if at_s <= latest_s)
    for number, waiting in enumerate(tested):
        if number >= last:
            return
        if waiting.checked and not scheduler.may_start(waiting):
            continue
        booking = profile.first_fit(waiting, scheduler, latest_s=latest_s)
        if booking is None:
            continue
        if booking.start_s <= now_s:
            scheduler.start(waiting, booking.grants, now_s)
            profile.book(booking)
            last = _last_that_fits(scheduler, tested, last, now_s)
        elif _reserves(scheduler, settings, waiting, now_s):
            profile.close(booking)


def _last_that_fits(
    scheduler: Scheduler, tested: Sequence[Waiting], last: int, now_s: float
) -> int:
    """How many of the first ``last`` are left when those at the end that do not fit now are not."""
    while last and (
        tested[last - 1].started
        or scheduler.room(scheduler.at(tested[last - 1], now_s)) < tested[last - 1].least
    ):
        last -= 1
    return last


def _tested(scheduler: Scheduler, settings: SlurmScheduling) -> Iterator[Waiting]:
    """The runs that a round of backfill looks at."""
    tested = 0
    users: Counter[str] = Counter()
    partitions: Counter[tuple[str, ...]] = Counter()
    for waiting in scheduler.waiting:
        job = waiting.job
        if waiting.started:
            continue
        if tested == settings.bf_max_job_test:
            return
        if 0 < settings.bf_max_job_user <= users[job.user]:
            continue
        if 0 < settings.bf_max_job_part <= partitions[job.partitions]:
            continue
        tested += 1
        users[job.user] += 1
        partitions[job.partitions] += 1
        yield waiting


def _reserves(
    scheduler: Scheduler, settings: SlurmScheduling, waiting: Waiting, now_s: float
) -> bool:
    """Whether its priority is high enough to keep nodes from others."""
    least, order = settings.bf_min_prio_reserve, scheduler.order
    if not least or not isinstance(order, FairShare):
        return True
    return order.multifactor.priority(waiting.job, now_s, waiting.eligible_s) >= least
