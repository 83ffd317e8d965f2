"""No backfill: runs start in order; the first that does not fit closes its nodes to all behind.

Runs whose partitions share no node with it go on, as in Slurm's main scheduling loop.
"""

from headrace.schedule.scheduler import Scheduler


class Strict:
    def __init__(self) -> None:
        self._closed = 0

    def walk(self, scheduler: Scheduler, now_s: float) -> None:
        queue = scheduler.waiting
        started, closed = 0, 0
        everywhere = scheduler.sites.everywhere
        for waiting in queue:
            demand = waiting.demand
            if demand.allowed & closed:
                continue
            grants = None
            if waiting.least <= scheduler.room(demand):
                grants = scheduler.fit(waiting, scheduler.pool)
            if grants is not None:
                scheduler.start(waiting, grants, now_s)
                started += 1
                continue
            closed |= demand.allowed
            if closed == everywhere:
                break
        if started:
            scheduler.drop_started()
