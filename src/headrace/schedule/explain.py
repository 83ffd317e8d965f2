"""Why a run waits, when it starts, and the smallest change that would start it sooner.

All of it is told by the scheduler itself: reasons from its state, starts from running it forward on
copies, with the run as it is and as it might be. A change is a run submitted anew, at the end of
the queue, since that is how its user can make it. The work is bounded, the answer deterministic.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import Protocol, TypeVar, runtime_checkable

from headrace.core.records import Record
from headrace.core.states import State
from headrace.schedule.change import (
    Change,
    changed,
    elsewhere,
    fewer,
    given_up,
    shorter,
)
from headrace.schedule.forecast import Ahead, Bound, Forecast, forecast, passes_for
from headrace.schedule.multifactor import Factors
from headrace.schedule.queue import Queued
from headrace.schedule.reason import LimitHit, NextPass, Reason
from headrace.schedule.reasons import Reasons
from headrace.schedule.scheduler import Scheduler
from headrace.schedule.state import Waiting

_TRIALS = 20
_TRIALS_A_KIND = 5
_BEFORE = 5
_GAIN_PART, _GAIN_S = 0.1, 10.0
V = TypeVar("V", int, float)


class Standing(Record, frozen=True, kw_only=True):
    """``place`` among ``of`` that wait for nodes, from 1. ``before``: the first few ahead."""

    place: int
    of: int
    before: tuple[str, ...] = ()


class Sooner(Record, frozen=True, kw_only=True):
    """With ``change`` it starts at ``start_s``."""

    change: Change
    start_s: float


class Entitlement(Record, frozen=True, kw_only=True):
    """An account, or a ``user``'s part of it. ``promised``: its part of the shares of its level,
    None where it has its parent's; ``used``: its part of the usage there."""

    account: str
    user: str | None
    promised: float | None
    used: float


class Explanation(Record, frozen=True, kw_only=True):
    """``reasons``: the first is the one that counts; none when it does not wait.

    ``standing``: None when it is not in the queue yet, because of a hold or what it waits for.
    ``sooner``: the smallest change of each kind that is worth while, the least first.

    What follows is of a batch system that decides by itself: its own ``word`` for the first reason,
    fair ``shares``, ``limits`` in force with their use, and ``notes`` on what it does not tell.
    """

    run: str
    now_s: float
    reasons: tuple[Reason, ...]
    forecast: Forecast
    standing: Standing | None = None
    factors: Factors | None = None
    sooner: tuple[Sooner, ...] = ()
    word: str = ""
    shares: tuple[Entitlement, ...] = ()
    limits: tuple[LimitHit, ...] = ()
    notes: tuple[str, ...] = ()


class Ranked(Record, frozen=True, kw_only=True):
    """A run in its place of the queue. ``factors``: None where the order has none."""

    run: str
    user: str
    account: str
    place: int
    factors: Factors | None = None


@runtime_checkable
class Weighing(Protocol):
    """An order whose keys are made of factors."""

    def factors(self, waiting: Waiting, now_s: float) -> Factors: ...


def explain(scheduler: Scheduler, run_id: str, now_s: float, *, sooner: bool = True) -> Explanation:
    """Explain a run that waits, or has just been started; the scheduler has decided.

    ``sooner``: also look for changes, which is most of the work.
    """
    if run_id in scheduler.active:
        found = (NextPass(at_s=None),)
        return Explanation(run=run_id, now_s=now_s, reasons=found, forecast=Forecast(start_s=now_s))
    expected = forecast(scheduler, now_s, run_id)[run_id]
    waiting = next((one for one in scheduler.waiting if one.job.id == run_id), None)
    job = scheduler.oversize.get(run_id) if waiting is None else waiting.job
    return Explanation(
        run=run_id,
        now_s=now_s,
        reasons=Reasons(scheduler, now_s).of(run_id),
        forecast=expected,
        standing=None if waiting is None else standing(scheduler, waiting),
        factors=None if waiting is None else factors(scheduler, waiting, now_s),
        sooner=_Trials(scheduler, job, now_s, expected).smallest() if job and sooner else (),
    )


def standing(scheduler: Scheduler, waiting: Waiting) -> Standing:
    queue = scheduler.waiting
    place = next(index for index, one in enumerate(queue) if one is waiting)
    before = tuple(one.job.id for one in queue[: min(place, _BEFORE)])
    return Standing(place=place + 1, of=len(queue), before=before)


def ranking(scheduler: Scheduler, now_s: float) -> list[Ranked]:
    """All that wait for nodes, in order."""
    return [
        Ranked(
            run=one.job.id,
            user=one.job.user,
            account=one.job.account,
            place=place,
            factors=factors(scheduler, one, now_s),
        )
        for place, one in enumerate(scheduler.waiting, 1)
    ]


def factors(scheduler: Scheduler, waiting: Waiting, now_s: float) -> Factors | None:
    """What its place is made of, where the order has factors."""
    order = scheduler.order
    return order.factors(waiting, now_s) if isinstance(order, Weighing) else None


class _Trials:
    """Tries changes of one run, as many as the bounds allow."""

    def __init__(self, scheduler: Scheduler, job: Queued, now_s: float, expected: Forecast) -> None:
        self._scheduler = scheduler
        self._job = job
        self._now_s = now_s
        self._latest_s = inf
        if expected.start_s is not None:
            wait_s = expected.start_s - now_s
            self._latest_s = expected.start_s - max(_GAIN_S, _GAIN_PART * wait_s)
        self._passes = passes_for(scheduler)
        self._trials = _TRIALS
        self._found: list[Sooner] = []

    def smallest(self) -> tuple[Sooner, ...]:
        """Of each kind the smallest that helps; both nodes and time only if neither does."""
        job = self._job
        if self._latest_s < self._now_s:
            return ()
        for change in elsewhere(job, self._scheduler.cluster):
            self._try(change)
        nodes = fewer(job.request.nodes_min)
        self._largest(nodes, lambda count: Change(nodes=count))
        limits = shorter(job)
        self._largest(limits, lambda limit_s: Change(limit_s=limit_s))
        if not self._found and nodes and limits:
            self._both(limits)
        if not self._found:
            gpus = fewer(job.request.gpus_per_node)
            self._largest(gpus, lambda count: Change(gpus_per_node=count))
        return tuple(sorted(self._found, key=lambda one: given_up(job, one.change)))

    def _both(self, limits: Sequence[float]) -> None:
        """Halve both until it helps."""
        nodes = self._job.request.nodes_min
        limit_s = self._job.limit_s or 2 * limits[-1]
        for _ in range(_TRIALS_A_KIND):
            nodes, limit_s = max(1, nodes // 2), limit_s / 2
            round_s = max((one for one in limits if one <= limit_s), default=limits[0])
            if self._try(Change(nodes=nodes, limit_s=round_s)):
                return

    def _largest(self, values: Sequence[V], change: Callable[[V], Change]) -> None:
        """Find the largest of the ascending ``values`` that helps, if the least does."""
        if not values:
            return
        best = self._start(change(values[0]))
        if best is None:
            return
        low, high = 0, len(values)
        for _ in range(_TRIALS_A_KIND):
            if high - low <= 1:
                break
            middle = (low + high) // 2
            start_s = self._start(change(values[middle]))
            if start_s is None:
                high = middle
            else:
                low, best = middle, start_s
        self._found.append(Sooner(change=change(values[low]), start_s=best))

    def _try(self, change: Change) -> bool:
        start_s = self._start(change)
        if start_s is not None:
            self._found.append(Sooner(change=change, start_s=start_s))
        return start_s is not None

    def _start(self, change: Change) -> float | None:
        """When it would start with this change; None when that is not worth while."""
        if not self._trials or self._passes <= 0:
            return None
        self._trials -= 1
        job = changed(self._job, change, self._now_s)
        scheduler = self._scheduler.copy()
        scheduler.remove(job.id, State.CANCELLED)
        scheduler.submit(job, self._now_s)
        ahead = Ahead(scheduler, self._now_s)
        ahead.run({job.id}, Bound(until_s=self._latest_s, passes=self._passes))
        self._passes -= ahead.passes
        start_s = ahead.start_s(job.id)
        return start_s if start_s is not None and start_s <= self._latest_s else None
