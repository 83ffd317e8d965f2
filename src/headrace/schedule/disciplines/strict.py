"""No backfill: runs start in order; the first that does not fit closes its nodes to all behind.

Runs whose partitions share no node with it go on, as in Slurm's main scheduling loop.
"""

from math import inf

from headrace.schedule.scheduler import Scheduler


class Strict:
    wake_s = inf

    def walk(self, scheduler: Scheduler, now_s: float) -> None:
        closed, everywhere = 0, scheduler.sites.everywhere
        for waiting in scheduler.candidates():
            if waiting.demand.allowed & closed:
                continue
            demand = scheduler.at(waiting, now_s)
            grants = None
            if waiting.least <= scheduler.room(demand):
                grants = scheduler.fit(waiting, demand, scheduler.pool)
            if grants is not None:
                scheduler.start(waiting, grants, now_s)
                continue
            closed |= waiting.demand.allowed
            if closed == everywhere:
                break
        scheduler.drop_started()
