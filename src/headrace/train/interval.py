"""When a checkpoint is due. Pure: times and steps are arguments.

A rule by steps is decided by every rank alone, since all count the same steps. A rule by time is
decided by rank 0 alone and agreed with the others (``train.agreement``), since clocks differ.

Without a rule the interval follows from what saving costs and how often the run fails. Sources:

* J. W. Young, A first order approximation to the optimum checkpoint interval, CACM 17 (9), 1974;
* J. T. Daly, A higher order estimate of the optimum checkpoint interval for restart dumps, FGCS 22
  (3), 2006, equation 37;
* failures: Grattafiori et al., The Llama 3 Herd of Models, 2024, table 5: 419 unexpected
  interruptions of 16,384 GPUs in 54 days are one in 50,700 h of a GPU.
"""

import math
from dataclasses import dataclass

from headrace.core.order import SessionSettings

AUTOMATIC_S = 600.0
"""Until the first save has been measured, and at most while saving costs next to nothing."""
LONGEST_S = 7200.0
SHORTEST_S = 30.0
RANK_FAILS_EVERY_S = 50_000 * 3600.0

_BUSY_SHARE = 0.05  # of what writing behind takes from training: memory, CPU, network; assumed
_NOTHING_SHARE = 0.001  # of the time: less is not worth losing more work for
_DURABLE_PART = 0.5  # of an interval that a save may take until it is durable


@dataclass(frozen=True)
class Interval:
    """At most one of ``every_s`` and ``every_steps`` is set; ``automatic`` if neither was asked."""

    every_s: float | None = None
    every_steps: int | None = None
    automatic: bool = False


@dataclass(frozen=True)
class Cost:
    """Of the last save: how long training stood still, and how long until it was durable."""

    stall_s: float
    durable_s: float


def choose_interval(settings: SessionSettings) -> Interval:
    """The job file's rule, else an automatic one."""
    if settings.checkpoint_every_steps is not None:
        return Interval(every_steps=settings.checkpoint_every_steps)
    if settings.checkpoint_every_s is not None:
        return Interval(every_s=settings.checkpoint_every_s)
    return Interval(every_s=AUTOMATIC_S, automatic=True)


def automatic(cost: Cost, *, between_failures_s: float) -> Interval:
    """The interval that loses least time, saving and failures together.

    What is lost when a save is not durable yet is the same whatever the interval; but a save must
    be durable well before the next. Where saving costs less than a thousandth of the time, ten
    minutes are enough: people stop and lose runs for more reasons than are counted.
    """
    cost_s = cost.stall_s + _BUSY_SHARE * cost.durable_s
    longest_s = min(max(AUTOMATIC_S, cost_s / _NOTHING_SHARE), LONGEST_S)
    shortest_s = max(SHORTEST_S, cost.durable_s / _DURABLE_PART)
    best_s = daly_s(cost_s, between_failures_s) + cost.stall_s  # from one save to the next
    return Interval(every_s=max(shortest_s, min(best_s, longest_s)), automatic=True)


def daly_s(cost_s: float, between_failures_s: float) -> float:
    """Time of work between two checkpoints of ``cost_s`` (Daly 2006, equation 37; its first term is
    Young's)."""
    if cost_s >= 2 * between_failures_s:
        return between_failures_s
    ratio = cost_s / (2 * between_failures_s)
    young_s = math.sqrt(2 * cost_s * between_failures_s)
    return young_s * (1 + math.sqrt(ratio) / 3 + ratio / 9) - cost_s


def between_failures_s(*, ranks: int, observed_s: float, failures: int) -> float:
    """Mean time between failures of a run: what was seen of it; without a failure what is assumed
    of so many ranks, or longer if it has held out longer."""
    if failures:
        return observed_s / failures
    return max(RANK_FAILS_EVERY_S / ranks, observed_s)


def due_by_steps(interval: Interval, *, step: int) -> bool:
    """Whether the boundary after ``step`` is one of the rule's. Same answer on every rank."""
    return interval.every_steps is not None and step % interval.every_steps == 0


def due_by_time(interval: Interval, *, now_s: float, saved_s: float) -> bool:
    """Whether the last save, at monotonic time ``saved_s``, is long enough ago."""
    return interval.every_s is not None and now_s - saved_s >= interval.every_s
