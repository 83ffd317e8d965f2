"""What the journal alone says of a run: the spells in which it held its place. Pure."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from headrace.core.events import Ended, Entry, LeadStarted, Placed, Requeued, Started
from headrace.core.records import DecodeError, LineDecoder, replace
from headrace.core.states import State
from headrace.engines.contract import AttemptRow
from headrace.engines.local.history import History, fold

_TEXT_MAX = 300
_ENERGY_MAX_J = 1e12
_STATES = frozenset(state.value for state in State)
_decode = LineDecoder[Entry](Entry)


class Spell(NamedTuple):
    """``end_s`` is None while it lasts. ``end``: the event that ended it."""

    attempt: int
    placed: tuple[Placed, ...]
    start_s: float
    end_s: float | None
    end: Ended | Requeued | None


def spells(entries: Sequence[Entry]) -> Iterator[Spell]:
    open_spell: Spell | None = None
    for entry in entries:
        event = entry.event
        if isinstance(event, Started):
            open_spell = Spell(entry.attempt, event.placed, entry.time_s, None, None)
        elif isinstance(event, Ended | Requeued) and open_spell is not None:
            yield open_spell._replace(end_s=entry.time_s, end=event)
            open_spell = None
    if open_spell is not None:
        yield open_spell


def past_of(entries: Sequence[Entry]) -> History:
    """The run's past without a word of its lead: an attempt for each time it was started."""
    history = fold(entries, (), None)
    return replace(
        history,
        attempts=tuple(_attempt(spell) for spell in spells(entries)),
        lead_time_s=sum(
            one.end_s - one.start_s for one in spells(entries) if one.end_s is not None
        ),
    )


def _attempt(spell: Spell) -> AttemptRow:
    return AttemptRow(
        number=spell.attempt,
        world_size=len(spell.placed),
        nodes=tuple(placed.node for placed in spell.placed),
        started_s=spell.start_s,
        ended_s=spell.end_s,
        outcome=None if spell.end is None else _outcome(spell.end),
        detail="" if spell.end is None else spell.end.detail,
        step=None,
    )


def _outcome(end: Ended | Requeued) -> str:
    return end.reason if isinstance(end, Requeued) else end.state.lower()


def claims_of(lines: str) -> Iterator[Entry]:
    """What a lead's events may decide: that it began, and how it says that it ended.

    The lines are the user's: what is no such event, or no state, is left out.
    """
    for line in lines.splitlines():
        try:
            entry = _decode(line.encode())
        except DecodeError:
            continue
        event = entry.event
        if isinstance(event, LeadStarted):
            yield entry
        elif isinstance(event, Ended) and event.state in _STATES:
            exit_code = max(-255, min(255, event.exit_code))
            sane = Ended(state=event.state, exit_code=exit_code, detail=plain(event.detail))
            yield replace(entry, event=sane)


def attempts_claimed(lines: str) -> tuple[AttemptRow, ...]:
    """The attempts as the lead's events tell them, for showing only."""
    entries = []
    for line in lines.splitlines():
        with suppress(DecodeError):
            entries.append(_decode(line.encode()))
    return tuple(
        replace(
            row,
            nodes=tuple(map(plain, row.nodes)),
            outcome=None if row.outcome is None else plain(row.outcome),
            detail=plain(row.detail),
        )
        for row in fold((), entries, None).attempts
    )


def sane_j(energy_j: float | None) -> float | None:
    """An energy that can be: what no machine of a room could have used in a year is none."""
    return energy_j if energy_j is not None and 0.0 <= energy_j <= _ENERGY_MAX_J else None


def plain(text: str) -> str:
    """A user's words as they may stand on another's terminal: one short line, nothing hidden."""
    shown = "".join(char if char.isprintable() else " " for char in text[:_TEXT_MAX])
    return " ".join(shown.split())
