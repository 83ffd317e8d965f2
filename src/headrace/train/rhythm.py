"""When a session saves: the rule, the time, what saving has cost, and what was seen of failures."""

import time
from collections.abc import Callable

from headrace.core.order import SessionSettings
from headrace.core.rundir import RunDir
from headrace.train.failures import Observed, observe
from headrace.train.group import Group
from headrace.train.interval import (
    Cost,
    Interval,
    automatic,
    between_failures_s,
    choose_interval,
    due_by_steps,
    due_by_time,
)


class Rhythm:
    """``cost``: of the last save, when there is one to tell of."""

    def __init__(
        self,
        settings: SessionSettings,
        run: RunDir,
        group: Group,
        *,
        cost: Callable[[], Cost | None],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rule = choose_interval(settings)
        self._group = group
        self._cost = cost
        self._now_s = now_s
        self._began_s = self._saved_s = now_s()
        decides = self._rule.automatic and group.rank == 0
        self._seen = observe(run) if decides else Observed(0.0, 0)

    def begin(self) -> None:
        """A save, or what counts as one, begins now."""
        self._saved_s = self._now_s()

    def due_after(self, step: int) -> bool:
        """By steps: the same answer on all ranks."""
        return due_by_steps(self._rule, step=step)

    def due_now(self) -> bool:
        """By time: rank 0 alone says so."""
        if self._group.rank > 0:
            return False
        now_s = self._now_s()
        return due_by_time(self._interval(now_s), now_s=now_s, saved_s=self._saved_s)

    def _interval(self, now_s: float) -> Interval:
        cost = self._cost()
        if cost is None or not self._rule.automatic:
            return self._rule
        return automatic(
            cost,
            between_failures_s=between_failures_s(
                ranks=self._group.world_size,
                observed_s=self._seen.observed_s + now_s - self._began_s,
                failures=self._seen.failures,
            ),
        )
