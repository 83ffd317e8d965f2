"""No backfill: runs start in order; the first that does not fit closes its nodes to all behind.

Runs whose partitions share no node with it go on, as in Slurm's main scheduling loop.
"""

from math import inf

from headrace.schedule.scheduler import Scheduler
from headrace.schedule.state import Waiting


class Strict:
    """Remembers what is closed until something is given back or the order changes."""

    wake_s = inf

    def __init__(self) -> None:
        self._closed = 0
        self._first: Waiting | None = None  # that did not fit

    def walk(self, scheduler: Scheduler, now_s: float) -> None:
        everywhere = scheduler.sites.everywhere
        if scheduler.released or self._first is None or self._overtaken(scheduler):
            self._closed, self._first = 0, None
        elif self._closed == everywhere:
            return
        for waiting in scheduler.candidates():
            if waiting.demand.allowed & self._closed:
                continue
            demand = scheduler.at(waiting, now_s)
            grants = None
            if waiting.least <= scheduler.room(demand):
                grants = scheduler.fit(waiting, demand, scheduler.pool)
            if grants is not None:
                scheduler.start(waiting, grants, now_s)
                continue
            self._first = self._first or waiting
            in_reservation = waiting.job.reservation is not None
            self._closed |= demand.allowed if in_reservation else waiting.demand.allowed
            if self._closed == everywhere:
                break
        scheduler.drop_started()

    def _overtaken(self, scheduler: Scheduler) -> bool:
        """One that came now stands before the first that did not fit."""
        first = self._first
        return first is not None and any(one.key < first.key for one in scheduler.fresh)
