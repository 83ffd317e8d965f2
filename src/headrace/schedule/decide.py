"""Which runs start now, where, and why the others wait.

Order: higher priority, then earlier submission, then id. A run that does not fit keeps what it
could use from everybody behind it; what it could not use may be taken. So no run starves, and no
run is delayed by one behind it, without knowing how long anything takes.

Pure: the caller passes the state and the time, and carries the decisions out.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from headrace.core.events import Placed
from headrace.core.states import State
from headrace.schedule.capacity import Capacity
from headrace.schedule.placement import Free, never_fits, place, shortage
from headrace.schedule.queue import Queued, Running
from headrace.schedule.reason import (
    ArrayThrottle,
    Dependency,
    Hopeless,
    NeverFits,
    NotBefore,
    OnHold,
    Priority,
    Reason,
)
from headrace.schedule.request import Request


class Start(NamedTuple):
    id: str
    placed: tuple[Placed, ...]


class Decisions(NamedTuple):
    """Every queued run is in exactly one of: starts, reasons. Hopeless ones never start."""

    starts: tuple[Start, ...]
    reasons: dict[str, Reason]

    @property
    def hopeless(self) -> dict[str, Hopeless]:
        return {run: why for run, why in self.reasons.items() if isinstance(why, Hopeless)}


def queue_order(queue: Sequence[Queued]) -> list[Queued]:
    return sorted(queue, key=lambda run: (-run.priority, run.submitted_s, natural(run.id)))


def natural(run_id: str) -> tuple[tuple[bool, int | str], ...]:
    """Sort key under which gpt-9 comes before gpt-10."""
    parts = re.split(r"(\d+)", run_id)
    return tuple((part.isdigit(), int(part) if part.isdigit() else part) for part in parts)


def decide(
    queue: Sequence[Queued],
    running: Sequence[Running],
    nodes: Sequence[Capacity],
    now_s: float,
) -> Decisions:
    """Decide for all of ``queue``, in any order, what starts on ``nodes`` at ``now_s``."""
    held_places = [piece for run in running for piece in run.placed]
    free, unclaimed = Free(nodes, held_places), Free(nodes, held_places)
    elements = Counter(run.job.array_id for run in running if run.job.array_id is not None)
    starts: list[Start] = []
    reasons: dict[str, Reason] = {}
    first_blocked: str | None = None
    for run in queue_order(queue):
        reason = _not_eligible(run, elements, now_s)
        if reason is None and (placed := place(run.request, unclaimed)) is not None:
            starts.append(Start(run.id, placed))
            free.take(placed)
            unclaimed.take(placed)
            if run.array_id is not None:
                elements[run.array_id] += 1
            continue
        if reason is None:
            reason = _blocked(run.request, free, nodes, first_blocked)
            if not isinstance(reason, NeverFits):
                unclaimed.withhold(run.request)
                first_blocked = first_blocked or run.id
        reasons[run.id] = reason
    return Decisions(tuple(starts), reasons)


def _not_eligible(run: Queued, elements: Counter[str], now_s: float) -> Reason | None:
    """What keeps the run waiting whatever is free."""
    if run.held:
        return OnHold()
    for after in run.after:
        if after.state is None or after.state.is_final:
            ok = after.state is State.COMPLETED
            if (after.condition, ok) in (("ok", False), ("notok", True)):
                state = "unknown" if after.state is None else after.state.value
                return Hopeless(on=after.run_id, state=state, condition=after.condition)
    waits_for = tuple(
        after.run_id for after in run.after if after.state and not after.state.is_final
    )
    if waits_for:
        return Dependency(waits_for=waits_for)
    if run.begin_s is not None and run.begin_s > now_s:
        return NotBefore(begin_s=run.begin_s)
    if run.array_throttle is not None and elements[run.array_id or ""] >= run.array_throttle:
        return ArrayThrottle(limit=run.array_throttle)
    return None


def _blocked(
    request: Request, free: Free, nodes: Sequence[Capacity], first_blocked: str | None
) -> Reason:
    """Why an eligible run does not start: too large, short of something, or behind another."""
    if (never := never_fits(request, nodes)) is not None:
        return never
    if first_blocked is not None and place(request, free) is not None:
        return Priority(behind=first_blocked)
    return shortage(request, free)
