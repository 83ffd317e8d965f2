"""Orders that never change while a run waits."""

from math import inf

from headrace.schedule.cluster import Cluster
from headrace.schedule.queue import Queued
from headrace.schedule.scheduler import Active, Key


class Fixed:
    """Shared by orders that need no account of what runs."""

    period_s: float | None = None

    def __init__(self, cluster: Cluster) -> None:
        self._count = 0

    def recalculate(self, now_s: float) -> None:
        """Nothing to do."""

    def started(self, active: Active, now_s: float) -> None:
        """Nothing to do."""

    def ended(self, active: Active, now_s: float) -> None:
        """Nothing to do."""


class Fifo(Fixed):
    """The user's priority, then submission."""

    def key(self, job: Queued, now_s: float) -> Key:
        self._count += 1
        return (-job.priority, job.submitted_s, self._count)


class Sjf(Fixed):
    """Shortest time limit first, then submission."""

    def key(self, job: Queued, now_s: float) -> Key:
        self._count += 1
        return (inf if job.limit_s is None else job.limit_s, job.submitted_s, self._count)
