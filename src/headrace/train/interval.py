"""When a checkpoint is due. Pure: times and steps are arguments.

A rule by steps is decided by every rank alone, since all count the same steps. A rule by time is
decided by rank 0 alone and agreed with the others (``train.agreement``), since clocks differ.
"""

from dataclasses import dataclass

from headrace.core.order import SessionSettings

AUTOMATIC_S = 600.0


@dataclass(frozen=True)
class Interval:
    """At most one of the two is set."""

    every_s: float | None = None
    every_steps: int | None = None


def choose_interval(settings: SessionSettings) -> Interval:
    """The job file's rule, else every ten minutes."""
    if settings.checkpoint_every_steps is not None:
        return Interval(every_steps=settings.checkpoint_every_steps)
    if settings.checkpoint_every_s is not None:
        return Interval(every_s=settings.checkpoint_every_s)
    return Interval(every_s=AUTOMATIC_S)


def due_by_steps(interval: Interval, *, step: int) -> bool:
    """Whether the boundary after ``step`` is one of the rule's. Same answer on every rank."""
    return interval.every_steps is not None and step % interval.every_steps == 0


def due_by_time(interval: Interval, *, now_s: float, saved_s: float) -> bool:
    """Whether the last save, at monotonic time ``saved_s``, is long enough ago."""
    return interval.every_s is not None and now_s - saved_s >= interval.every_s
