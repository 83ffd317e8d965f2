"""Which checkpoints to delete. Pure; deleting is ``headrace.checkpoint.saver``'s."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

METRICS = "metrics"
"""The key of a snapshot's state with the numbers by which the best one is known."""


@dataclass(frozen=True)
class Best:
    """The one with the least (``min``) or greatest (``max``) value of a metric."""

    metric: str
    mode: Literal["min", "max"] = "min"

    def value(self, state: Mapping[str, object]) -> float | None:
        """The metric in a checkpoint's state; None when it is not there or no finite number."""
        metrics = state.get(METRICS)
        found = metrics.get(self.metric) if isinstance(metrics, Mapping) else None
        if isinstance(found, bool) or not isinstance(found, int | float):
            return None
        return float(found) if math.isfinite(found) else None


@dataclass(frozen=True)
class Keep:
    """``last``: how many verified ones; less than 1 counts as 1. ``every``: keep steps that it
    divides for good. ``best``: keep the best one, too."""

    last: int = 3
    every: int | None = None
    best: Best | None = None


@dataclass(frozen=True)
class Known:
    """``verified``: known to be whole. ``value``: of the metric of ``Keep.best``."""

    verified: bool
    value: float | None = None


def to_delete(known: Mapping[int, Known], keep: Keep, *, saved: int) -> tuple[int, ...]:
    """Steps to delete, oldest first, when ``saved`` is the one saved last.

    A step goes when ``keep.last`` newer ones up to ``saved`` are verified, unless ``keep.every``
    divides it or it is the best. So the newest ones that are verified always stay, the last
    verified one among them. Steps beyond ``saved``, left by a run that went further before it was
    set back, are neither counted nor deleted. Of equal values the newest is the best.
    """
    best = best_step(known, keep, saved=saved)
    newer, deleted = 0, []
    for step in sorted((step for step in known if step <= saved), reverse=True):
        kept = step == best or (keep.every is not None and step % keep.every == 0)
        if newer >= max(1, keep.last) and not kept:
            deleted.append(step)
        newer += known[step].verified
    return tuple(reversed(deleted))


def best_step(known: Mapping[int, Known], keep: Keep, *, saved: int) -> int | None:
    """The best verified step up to ``saved``; None without a metric or a value of it."""
    if keep.best is None:
        return None
    sign = 1.0 if keep.best.mode == "max" else -1.0
    ranked = [
        (sign * one.value, step)
        for step, one in known.items()
        if one.verified and one.value is not None and step <= saved
    ]
    return max(ranked)[1] if ranked else None
