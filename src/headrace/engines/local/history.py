"""What became of a run, folded from its event files. Pure: the files are the truth.

The engine's own events say when the run was queued, started and requeued; the lead's say what its
attempts did and how it ended. A lead's words count for the present only if it is the lead that
``lead.json`` names: an earlier one's end led to a requeue.
"""

import math
from collections.abc import Iterable, Sequence

from headrace.core import events
from headrace.core.events import Entry, Placed
from headrace.core.process import Process
from headrace.core.records import Record, replace
from headrace.core.states import State
from headrace.engines.contract import AttemptRow

FREE_REASONS = (
    "preempt",
    "resize",
    "requeue",
    "time",
)  # no fault of the run: no restart is counted


class Stretch(Record, frozen=True, kw_only=True):
    """A place that was held and given back: what is charged for."""

    start_s: float
    end_s: float
    placed: tuple[Placed, ...]


class History(Record, frozen=True, kw_only=True):
    """A run's past and present.

    ``begun``: the present lead has said that it started. ``lead_end``: how it ended, if it did.
    ``placed_s``: when the present place was given. ``cancel_by``: who asked to cancel.
    ``lead_time_s``: seconds that leads have used so far, the present one's open stretch left out.
    ``displaced``: why it was told to give its place back; ``displacements``: how often it did.
    ``nodes``: (min, max) that its user asked for later. ``stretches``: the places it held before
    the present one, and when. ``missed_s``: since when its job is known to nobody.
    ``vain_places``: places in a row before the present one that it lost before an attempt began
    there.
    """

    state: State = State.PENDING
    submitted_s: float = 0.0
    held: bool = False
    cancel_by: str | None = None
    placed: tuple[Placed, ...] = ()
    placed_s: float = 0.0
    ended_s: float | None = None
    exit_code: int | None = None
    detail: str = ""
    attempts: tuple[AttemptRow, ...] = ()
    begun: bool = False
    lead_end: events.Ended | None = None
    lead_time_s: float = 0.0
    displaced: events.Displaced | None = None
    displacements: int = 0
    resize_to: int | None = None
    nodes: tuple[int, int] | None = None
    stretches: tuple[Stretch, ...] = ()
    energy_j: float | None = None
    missed_s: float | None = None
    vain_places: int = 0

    @property
    def started_s(self) -> float | None:
        return self.attempts[0].started_s if self.attempts else None

    @property
    def restarts_used(self) -> int:
        """What the next lead's first attempt counts as: all before it, less the displaced ones."""
        return max(0, len(self.attempts) - self.displacements) + self.vain_places

    @property
    def unstarted(self) -> int:
        """Places in a row, the present one too, where no attempt has begun."""
        begun = self.attempts and self.attempts[-1].started_s >= self.placed_s
        return 0 if begun else self.vain_places + 1


def fold(engine: Iterable[Entry], lead: Sequence[Entry], present: Process | None) -> History:
    """``engine``, ``lead``: entries of both writers in order. ``present``: what lead.json names."""
    history = History(attempts=_attempts(lead))
    begun_s = history.attempts[-1].started_s if history.attempts else -math.inf
    for entry in engine:
        history = _engine_event(history, entry)
        if isinstance(entry.event, events.Requeued) and entry.time_s > begun_s:
            vain = history.vain_places + (entry.event.reason == "node")
            history = replace(history, vain_places=vain)
    stretches = _stretches(lead)
    lead_time_s = sum(
        stretch[-1].time_s - stretch[0].time_s
        for stretch in stretches
        if not (_is_lead(stretch[0], present) and _end_of(stretch) is None)
    )
    history = replace(history, lead_time_s=lead_time_s)
    if history.state is not State.RUNNING:
        return history
    ours = [stretch for stretch in stretches if _is_lead(stretch[0], present)]
    if not ours:
        return history
    end = _end_of(ours[-1])
    history = replace(history, begun=True, lead_end=end and end[0])
    if end is None or not State(end[0].state).is_final:
        return history
    return replace(
        given_back(history, end[1]),
        state=State(end[0].state),
        ended_s=end[1],
        exit_code=end[0].exit_code,
        detail=end[0].detail,
    )


def given_back(history: History, at_s: float) -> History:
    """The place it holds, if it does, becomes a stretch."""
    if history.state is not State.RUNNING:
        return history
    stretch = Stretch(start_s=history.placed_s, end_s=at_s, placed=history.placed)
    return replace(history, stretches=(*history.stretches, stretch))


def _engine_event(history: History, entry: Entry) -> History:
    event = entry.event
    match event:
        case events.Submitted():
            return replace(history, submitted_s=entry.time_s)
        case events.Held():
            return replace(history, held=True)
        case events.Released():
            return replace(history, held=False)
        case events.CancelAsked(by=by):
            return replace(history, cancel_by=by)
        case events.Started(placed=placed):
            return replace(
                history,
                state=State.RUNNING,
                placed=placed,
                placed_s=entry.time_s,
                ended_s=None,
                exit_code=None,
                missed_s=None,
            )
        case events.Missed():
            return replace(history, missed_s=entry.time_s)
        case events.Metered(energy_j=energy_j):
            return replace(history, energy_j=energy_j)
        case events.Displaced():
            return replace(history, displaced=event)
        case events.Resized(nodes_min=least, nodes_max=most):
            return replace(history, nodes=(least, most))
        case events.Requeued(reason=reason, detail=detail):
            willing = reason in FREE_REASONS
            again = history.displaced.nodes if willing and history.displaced else None
            return replace(
                given_back(history, entry.time_s),
                state=State.PENDING,
                placed=(),
                detail=detail,
                displaced=None,
                displacements=history.displacements + willing,
                resize_to=again,
            )
        case events.Ended(state=state, exit_code=exit_code, detail=detail):
            return replace(
                given_back(history, entry.time_s),
                state=State(state),
                ended_s=entry.time_s,
                exit_code=exit_code,
                detail=detail,
            )
        case _:
            return history


def _stretches(lead: Sequence[Entry]) -> list[list[Entry]]:
    """The entries of each lead, one after the other."""
    found: list[list[Entry]] = []
    for entry in lead:
        if isinstance(entry.event, events.LeadStarted):
            found.append([entry])
        elif found:
            found[-1].append(entry)
    return found


def _is_lead(entry: Entry, process: Process | None) -> bool:
    event = entry.event
    return (
        process is not None
        and isinstance(event, events.LeadStarted)
        and (event.pid, event.start_ticks, event.boot_id)
        == (process.pid, process.start_ticks, process.boot_id)
    )


def _end_of(stretch: Sequence[Entry]) -> tuple[events.Ended, float] | None:
    for entry in stretch:
        if isinstance(entry.event, events.Ended):
            return entry.event, entry.time_s
    return None


def _attempts(lead: Sequence[Entry]) -> tuple[AttemptRow, ...]:
    rows: dict[int, AttemptRow] = {}
    for entry in lead:
        match entry.event:
            case events.AttemptStarted(world_size=world_size, nodes=nodes):
                rows[entry.attempt] = AttemptRow(
                    number=entry.attempt,
                    world_size=world_size,
                    nodes=nodes,
                    started_s=entry.time_s,
                    ended_s=None,
                    outcome=None,
                    detail="",
                    step=None,
                )
            case events.AttemptEnded(outcome=outcome, detail=detail, step=step):
                if entry.attempt in rows:
                    rows[entry.attempt] = replace(
                        rows[entry.attempt],
                        ended_s=entry.time_s,
                        outcome=outcome,
                        detail=detail,
                        step=step,
                    )
            case _:
                pass
    return tuple(rows[number] for number in sorted(rows))
