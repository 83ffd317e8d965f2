"""Where a run's wall time went, by cause. Pure.

The time from submission to the end is painted once from left to right, so that the causes always
add up to the wall time and none is negative, whatever the records say.
"""

from collections.abc import Sequence
from enum import StrEnum

from headrace.core.records import Record
from headrace.core.states import State
from headrace.monitor.history import Attempt, History, PhasePoint, Span, Step


class Cause(StrEnum):
    """In the order of reports. LOST: steps done again, waiting for a dead attempt, down time."""

    QUEUE = "queue"
    START_UP = "start_up"
    INIT_RESTORE = "init_restore"
    DATA = "data"
    FORWARD_BACKWARD = "forward_backward"
    SYNC = "sync"
    OPTIMIZER = "optimizer"
    CHECKPOINT = "checkpoint"
    EVALUATE = "evaluate"
    LOST = "lost"
    OTHER = "other"


_OF_PHASE = {
    "init": Cause.INIT_RESTORE,
    "restore": Cause.INIT_RESTORE,
    "evaluate": Cause.EVALUATE,
    "checkpoint": Cause.CHECKPOINT,
}
_OF_STEP = {
    "data": Cause.DATA,
    "forward_backward": Cause.FORWARD_BACKWARD,
    "sync": Cause.SYNC,
    "optimizer": Cause.OPTIMIZER,
    "checkpoint": Cause.CHECKPOINT,
}
_FAILED = ("error", "node", "hang", "oom")


class TimeByCause(Record, frozen=True, kw_only=True):
    """``seconds`` has every cause. ``useful_s``: steps that counted, without checkpoint stalls."""

    seconds: dict[str, float]
    useful_s: float


class _Painter:
    """Gives the time from a cursor to a later moment to a cause; earlier moments give nothing."""

    def __init__(self, begin_s: float, end_s: float) -> None:
        self.cursor_s = begin_s
        self._end_s = end_s
        self.seconds = {cause.value: 0.0 for cause in Cause}
        self.useful_s = 0.0

    def until(self, moment_s: float, cause: Cause) -> float:
        """Returns the seconds painted."""
        moment_s = min(moment_s, self._end_s)
        length_s = max(0.0, moment_s - self.cursor_s)
        self.cursor_s = max(self.cursor_s, moment_s)
        self.seconds[cause] += length_s
        return length_s


def time_by_cause(history: History) -> TimeByCause:
    """Every second from ``history.begin_s`` to ``history.end_s`` under exactly one cause."""
    painter = _Painter(history.begin_s, history.end_s)
    for position, attempt in enumerate(history.attempts):
        outside = Cause.LOST if position else Cause.START_UP
        _paint_outside(painter, history.spans, attempt.start_s, outside)
        _paint_attempt(
            painter,
            attempt,
            [phase for phase in history.phases if phase.attempt == attempt.number],
            [step for step in history.steps if step.attempt == attempt.number],
            is_last=position == len(history.attempts) - 1,
        )
    _paint_outside(painter, history.spans, history.end_s, Cause.OTHER)
    return TimeByCause(seconds=painter.seconds, useful_s=painter.useful_s)


def _paint_outside(
    painter: _Painter, spans: Sequence[Span], until_s: float, running: Cause
) -> None:
    """Time in no attempt: waiting in the queue, or ``running`` where a place was held."""
    for span in spans:
        cause = Cause.QUEUE if span.state == State.PENDING else running
        painter.until(min(span.end_s, until_s), cause)
    painter.until(until_s, running)


def _paint_attempt(
    painter: _Painter,
    attempt: Attempt,
    phases: Sequence[PhasePoint],
    steps: Sequence[Step],
    *,
    is_last: bool,
) -> None:
    failed = attempt.outcome in _FAILED
    if not phases and not steps:
        cause = Cause.LOST if failed and not is_last else Cause.OTHER
        painter.until(attempt.end_s, cause)
        return
    before = Cause.START_UP
    for step in steps:
        start_s = min(step.metric.time_s - max(0.0, step.metric.step_s), attempt.end_s)
        before = _paint_phases(painter, phases, start_s, before, stepping=step is not steps[0])
        _paint_step(painter, step, attempt.end_s)
        before = Cause.OTHER if before in (Cause.START_UP, Cause.INIT_RESTORE) else before
    if failed:
        painter.until(attempt.end_s, Cause.LOST)
    _paint_phases(painter, phases, attempt.end_s, before, stepping=bool(steps))


def _paint_phases(
    painter: _Painter,
    phases: Sequence[PhasePoint],
    until_s: float,
    before: Cause,
    *,
    stepping: bool,
) -> Cause:
    """Paint up to ``until_s`` by the phases in force; return the cause of the one in force then.

    Once an attempt is ``stepping``, what it calls init is no longer its start.
    """
    cause = before
    for phase in phases:
        if phase.time_s > until_s:
            break
        if phase.time_s >= painter.cursor_s:
            painter.until(phase.time_s, cause)
            cause = _OF_PHASE.get(phase.phase, Cause.OTHER)
            cause = Cause.OTHER if stepping and phase.phase == "init" else cause
    painter.until(until_s, cause)
    return cause


def _paint_step(painter: _Painter, step: Step, end_s: float) -> None:
    """One step, its parts scaled down where they say more than the step took."""
    moment_s = min(step.metric.time_s, end_s)
    if step.repeated:
        painter.until(moment_s, Cause.LOST)
        return
    start_s = painter.cursor_s
    parts = {
        cause: max(0.0, step.metric.seconds.get(name, 0.0)) for name, cause in _OF_STEP.items()
    }
    told_s, length_s = sum(parts.values()), max(0.0, moment_s - start_s)
    scale = min(1.0, length_s / told_s) if told_s > 0 else 0.0
    for cause, part_s in parts.items():
        painted_s = painter.until(painter.cursor_s + part_s * scale, cause)
        painter.useful_s += painted_s if cause is not Cause.CHECKPOINT else 0.0
    painter.useful_s += painter.until(moment_s, Cause.OTHER)
