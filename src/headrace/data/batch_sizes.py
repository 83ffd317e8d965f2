"""Which positions a step takes, for a global batch that changes in mid-run: a pure function.

Steps count from 0 here: step n is the one after n finished steps.
"""

from bisect import bisect_right
from collections.abc import Sequence

from headrace.core.records import Record


class BatchSize(Record, frozen=True, kw_only=True):
    """From ``step`` on, at position ``consumed``, a step takes ``size`` samples of all ranks."""

    step: int
    consumed: int
    size: int


def resized(
    sizes: tuple[BatchSize, ...], step: int, size: int, *, consumed: int | None = None
) -> tuple[BatchSize, ...]:
    """The same positions before ``step``, and batches of ``size`` from there on.

    ``consumed``: the position at which ``step`` begins, where the step before it was cut short.
    """
    if step == 0:
        return (BatchSize(step=0, consumed=0, size=size),)
    kept = tuple(one for one in sizes if one.step < step)
    expected = consumed_before(kept, step)
    consumed = expected if consumed is None else consumed
    if kept[-1].size == size and consumed == expected:
        return kept
    return (*kept, BatchSize(step=step, consumed=consumed, size=size))


def consumed_before(sizes: Sequence[BatchSize], step: int) -> int:
    """The position at which ``step`` begins."""
    held = sizes[_holding(sizes, step)]
    return held.consumed + (step - held.step) * held.size


def consumed_after(sizes: Sequence[BatchSize], step: int) -> int:
    """The position behind ``step``."""
    held = sizes[_holding(sizes, step)]
    following = _holding(sizes, step + 1)
    if sizes[following].step == step + 1:
        return sizes[following].consumed
    return held.consumed + (step + 1 - held.step) * held.size


def size_at(sizes: Sequence[BatchSize], step: int) -> int:
    """The batch that holds at ``step``."""
    return sizes[_holding(sizes, step)].size


def steps_to(sizes: Sequence[BatchSize], samples: int) -> int:
    """Steps until ``samples`` have been consumed; the last may consume more."""
    number = bisect_right(sizes, samples, key=lambda one: one.consumed) - 1
    held = sizes[number]
    steps = held.step - (held.consumed - samples) // held.size
    return steps if number + 1 == len(sizes) else min(steps, sizes[number + 1].step)


def _holding(sizes: Sequence[BatchSize], step: int) -> int:
    return bisect_right(sizes, step, key=lambda one: one.step) - 1
