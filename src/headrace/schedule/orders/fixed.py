"""Orders that never change while a run waits."""

from headrace.core.states import State
from headrace.schedule.cluster import Cluster
from headrace.schedule.state import Active, Key, Waiting


class Fixed:
    """Shared by orders that need no account of what runs."""

    period_s: float | None = None

    def __init__(self, cluster: Cluster) -> None:
        self._count = 0

    def recalculate(self, now_s: float) -> None:
        """Nothing to do."""

    def started(self, active: Active, now_s: float) -> None:
        """Nothing to do."""

    def ended(self, active: Active, now_s: float, state: State) -> None:
        """Nothing to do."""


class Fifo(Fixed):
    """The user's priority, then submission."""

    def key(self, waiting: Waiting, now_s: float) -> Key:
        self._count += 1
        return (-waiting.job.priority, waiting.job.submitted_s, self._count)


class Sjf(Fixed):
    """Shortest time limit first, then submission."""

    def key(self, waiting: Waiting, now_s: float) -> Key:
        self._count += 1
        return (waiting.limit_s, waiting.job.submitted_s, self._count)
