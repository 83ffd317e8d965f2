"""Least attained service in queues: 2D-LAS of Tiresias (NSDI'19).

The service of a run is the GPUs it held times the seconds it held them. There is a queue for every
step between two thresholds: a run begins in the first and goes down one when its service passes the
next threshold. Within a queue, first come first served. Run times need not be known.
"""

from collections.abc import Sequence
from heapq import heappop, heappush
from math import inf

from headrace.core.states import State
from headrace.schedule.cluster import Cluster
from headrace.schedule.state import Active, Key, Waiting

THRESHOLDS = (3600.0, 7200.0, 18_000.0)  # GPU-seconds; Tiresias' own example


class Served:
    """What a run got so far. ``entered_s``: when it came into its queue."""

    __slots__ = ("entered_s", "executed_s", "gpu_seconds", "level")

    def __init__(self, entered_s: float) -> None:
        self.gpu_seconds = self.executed_s = 0.0
        self.level = 0
        self.entered_s = entered_s


class LeastService:
    """``promote``: a run that has waited as many times as long as it ran begins anew; Tiresias'
    knob against starvation, off by default as it is there.

    Only service since this order began to watch counts.
    """

    period_s: float | None = None

    def __init__(
        self, cluster: Cluster, thresholds: Sequence[float] = THRESHOLDS, promote: float = inf
    ) -> None:
        self.thresholds = (*thresholds, inf)
        self.promote = promote
        self._served: dict[str, Served] = {}
        self._promotions: list[tuple[float, str]] = []
        self._count = 0

    @property
    def levels(self) -> int:
        return len(self.thresholds)

    def recalculate(self, now_s: float) -> None:
        """Nothing to do: queues change when runs do."""

    def key(self, waiting: Waiting, now_s: float) -> Key:
        if waiting.key:
            came = waiting.key[-1]
        else:
            came = self._count = self._count + 1
        served = self._served.get(waiting.job.id)
        if served is None:
            return 0, waiting.eligible_s, came
        return served.level, served.entered_s, came

    def level(self, run_id: str) -> int:
        served = self._served.get(run_id)
        return 0 if served is None else served.level

    def started(self, active: Active, now_s: float) -> None:
        self._served.setdefault(active.job.id, Served(now_s))

    def ended(self, active: Active, now_s: float, state: State) -> None:
        if state.is_final:
            self._served.pop(active.job.id, None)
            return
        served, held_s = self._served[active.job.id], now_s - active.started_s
        served.gpu_seconds += gpus_of(active) * held_s
        served.executed_s += held_s
        while served.gpu_seconds >= self.thresholds[served.level]:
            self.demote(active.job.id, now_s)
        if served.level and self.promote < inf:
            due_s = now_s + self.promote * served.executed_s
            heappush(self._promotions, (due_s, active.job.id))

    def crossing_s(self, active: Active) -> float:
        """When the run goes down a queue if it goes on."""
        served = self._served[active.job.id]
        left = self.thresholds[served.level] - served.gpu_seconds
        return active.started_s + left / gpus_of(active)

    def demote(self, run_id: str, at_s: float) -> int:
        served = self._served[run_id]
        served.level += 1
        served.entered_s = at_s
        return served.level

    @property
    def promotion_s(self) -> float:
        """When the next run is due to begin anew."""
        return self._promotions[0][0] if self._promotions else inf

    def promote_due(self, waiting: Sequence[Waiting], now_s: float) -> bool:
        """Let those that have waited too long begin anew. Whether there was one."""
        due = set()
        while self._promotions and self._promotions[0][0] <= now_s:
            due.add(heappop(self._promotions)[1])
        promoted = [one.job.id for one in waiting if one.job.id in due] if due else []
        for run_id in promoted:
            self._served[run_id] = Served(now_s)
        return bool(promoted)


def gpus_of(active: Active) -> int:
    """Its GPUs; its nodes where it has none."""
    return active.slices * max(1, active.job.request.gpus_per_node)
