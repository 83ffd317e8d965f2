"""When runs start if nothing changes: the very scheduler, run forward on a copy.

Nothing changes: nobody submits, cancels, holds or releases, nodes stay as they are, and every run
takes exactly its time limit and ends COMPLETED. So a promise is as good as the limits are.
"""

from math import inf
from typing import NamedTuple, assert_never

from headrace.core.records import Record, Tagged, replace
from headrace.core.states import State
from headrace.schedule.pool import Grants, nodes_of, numbers
from headrace.schedule.reason import (
    ArrayThrottle,
    Dependency,
    Hopeless,
    NeverFits,
    NoSuchNode,
    NotAllowed,
    OnHold,
    OwnReservation,
    Priority,
    Reason,
    When,
    sentence,
    utc,
)
from headrace.schedule.reasons import Reasons
from headrace.schedule.scheduler import Scheduler
from headrace.schedule.state import Active

STOPPING_S = 60.0
"""A run that was told to leave before we look is expected to be gone by then."""
_PATIENCE_S = 86_400.0  # when nothing runs and nothing starts for so long, nothing will
_RUNS = 3
_LASTING = (Hopeless, OnHold, NotAllowed, NoSuchNode, NeverFits, OwnReservation)


class Unlimited(Tagged, frozen=True, kw_only=True):
    """The start depends on these runs, which have no time limit."""

    runs: tuple[str, ...]


class Never(Tagged, frozen=True, kw_only=True):
    """``run``, the one asked for or one before it, never starts if nothing changes."""

    run: str
    reason: Reason


class Beyond(Tagged, frozen=True, kw_only=True):
    """Later than this; not reckoned further."""

    than_s: float


class NotReckoned(Tagged, frozen=True, kw_only=True):
    """The batch system that decides has not said. ``why``: a clause."""

    why: str


Unknown = Unlimited | Never | Beyond | NotReckoned


class Forecast(Record, frozen=True, kw_only=True):
    """``start_s``: None when it is ``unknown``, which says why. ``nodes``: names.

    ``bound``: it starts then at the earliest; new runs ahead of it, and what is not known of those
    that are, may make it later.
    """

    start_s: float | None = None
    unknown: Unknown | None = None
    nodes: tuple[str, ...] = ()
    bound: bool = False


class Bound(NamedTuple):
    """How far to look. ``passes`` None: fewer, the longer the queue is."""

    until_s: float = inf
    passes: int | None = None


def forecast(
    scheduler: Scheduler, now_s: float, run_id: str | None = None, *, bound: Bound | None = None
) -> dict[str, Forecast]:
    """The expected start of ``run_id``, or of all that wait. The scheduler stays as it is."""
    wanted = [one.job.id for one in scheduler.waiting]
    wanted += [*scheduler.later, *scheduler.oversize]
    if run_id is not None:
        wanted = [run_id]
    ahead = Ahead(scheduler.copy(), now_s)
    ahead.run(set(wanted), bound or Bound())
    return {one: ahead.forecast(one) for one in wanted}


class Ahead:
    """A scheduler under way into its future. It is changed: give it a copy."""

    def __init__(self, scheduler: Scheduler, now_s: float) -> None:
        self.scheduler = scheduler
        self.now_s = now_s
        self.passes = 0
        self._eventful_s = now_s
        self.starts: dict[str, tuple[float, Grants]] = {}
        self._bounded = False
        self._reasons: Reasons | None = None
        for active in [one for one in scheduler.ends if one.stopping]:
            if active.end_s > now_s + STOPPING_S:
                scheduler.expect_end(active, now_s + STOPPING_S)

    def run(self, wanted: set[str], bound: Bound) -> None:
        """Until all of ``wanted`` have started, nothing more happens, or it is too far."""
        left = set(wanted)
        most = passes_for(self.scheduler) if bound.passes is None else bound.passes
        while left:
            left -= self._pass()
            self.passes += 1
            next_s = self._next_s()
            if not left or next_s == inf:
                return
            self._bounded = self.passes >= most or next_s > bound.until_s
            if self._bounded:
                return
            self.now_s = next_s

    def start_s(self, run_id: str) -> float | None:
        """After ``run``; None when it has not started."""
        return self.starts[run_id][0] if run_id in self.starts else None

    def forecast(self, run_id: str) -> Forecast:
        """After ``run``."""
        if run_id in self.starts:
            start_s, grants = self.starts[run_id]
            specs = self.scheduler.cluster.nodes
            names = tuple(specs[number].name for number in numbers(nodes_of(grants)))
            return Forecast(start_s=start_s, nodes=names)
        if self._bounded:
            return Forecast(unknown=Beyond(than_s=self.now_s))
        return Forecast(unknown=self._why(run_id))

    def _next_s(self) -> float:
        """When something happens next; infinity when nothing does."""
        scheduler = self.scheduler
        if scheduler.ends:
            self._eventful_s = self.now_s
        end_s = max(self.now_s, scheduler.ends[0].end_s) if scheduler.ends else inf
        next_s = min(end_s, scheduler.wake_s(self.now_s))
        return next_s if next_s <= self._eventful_s + _PATIENCE_S or scheduler.ends else inf

    def _pass(self) -> set[str]:
        """What happens at ``now_s``: ends, then decisions. Return who starts."""
        scheduler, now_s = self.scheduler, self.now_s
        while scheduler.ends and scheduler.ends[0].end_s <= now_s:
            self._end(scheduler.ends[0])
        started: set[str] = set()
        while True:
            decided = scheduler.decide(now_s)
            for job, grants in decided.starts:
                self.starts.setdefault(job.id, (now_s, grants))
                started.add(job.id)
            at_once = [one for one in decided.stops if one.slices is not None or not one.grace_s]
            for stop in at_once:
                self._end(scheduler.active[stop.run_id])
            if not at_once:
                return started

    def _end(self, active: Active) -> None:
        """It completes; or, told to leave, it is queued again with what is left of its limit."""
        job, stop = active.job, active.stop
        if stop is None:
            self.scheduler.end(job.id, self.now_s)
            return
        limit_s = job.limit_s
        if limit_s is not None:
            limit_s = max(1.0, limit_s - (self.now_s - active.started_s))
        self.scheduler.end(job.id, self.now_s, State.PREEMPTED)
        again = replace(job, limit_s=limit_s, begin_s=None, after=(), resize_to=stop.slices)
        self.scheduler.submit(again, self.now_s)

    # --- why there is no start ----------------------------------------------------------------

    def _why(self, run_id: str) -> Unknown:
        """Nothing happens any more: follow who waits for whom to the one that is to blame."""
        scheduler, seen = self.scheduler, {run_id}
        reasons = self._reasons = self._reasons or Reasons(scheduler, self.now_s)
        while True:
            reason = next((one for one in reasons.of(run_id)), None)
            if reason is None:
                return Unlimited(runs=(run_id,))
            after = _before(reason)
            if after is None or after in seen or not self._knows(after):
                return self._to_blame(run_id, reason)
            seen.add(after)
            run_id = after

    def _knows(self, run_id: str) -> bool:
        scheduler = self.scheduler
        aside = (scheduler.active, scheduler.later, scheduler.oversize)
        return any(run_id in runs for runs in aside) or any(
            one.job.id == run_id for one in scheduler.waiting
        )

    def _to_blame(self, run_id: str, reason: Reason) -> Unknown:
        """What still runs has no time limit; it is to blame where its end would help."""
        holders = [] if isinstance(reason, _LASTING) else list(self.scheduler.active.values())
        if isinstance(reason, ArrayThrottle):
            waiting = next(one for one in self.scheduler.waiting if one.job.id == run_id)
            holders = [one for one in holders if one.job.array_id == waiting.job.array_id]
        if holders:
            return Unlimited(runs=tuple(one.job.id for one in holders[:_RUNS]))
        return Never(run=run_id, reason=reason)


def unknown_sentence(run_id: str, unknown: Unknown, when: When = utc) -> str:
    """Why nobody knows when ``run_id`` starts; a clause."""
    match unknown:
        case Unlimited(runs=runs):
            verb = "has" if len(runs) == 1 else "have"
            return f"it depends on {', '.join(runs)}, which {verb} no time limit"
        case Never(run=run, reason=reason):
            who = "it" if run == run_id else f"it depends on {run}, which"
            return f"{who} does not start as things are: {sentence(reason, when)}"
        case Beyond(than_s=than_s):
            return f"later than {when(than_s)}; not reckoned further"
        case NotReckoned(why=why):
            return why
        case _:
            assert_never(unknown)


def _before(reason: Reason) -> str | None:
    """The run whose turn must come first."""
    match reason:
        case Dependency(waits_for=runs):
            return runs[0]
        case Priority(behind=run):
            return run
        case _:
            return None


def passes_for(scheduler: Scheduler) -> int:
    """How far one look goes: a second or so of work."""
    return max(200, 2_000_000 // (len(scheduler.waiting) + 200))
