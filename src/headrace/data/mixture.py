"""Which source comes when, for a mixture of sources whose weights change: a pure function.

Time is cut into segments of constant weights, and a segment into periods of ``sum(shares)``
positions. A period is a keyed permutation of the multiset that holds source s ``shares[s]`` times:
in every period each source has exactly its share. Sources are read in their own order, so what a
segment begins with is one count for each source.
"""

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from math import isfinite
from typing import NamedTuple

import numpy as np

from headrace.core.records import Record
from headrace.data.order import Indices, derived_seed, hashed

PERIOD = 1000
PERIOD_MOST = 10**5
_PERIODS_KEPT = 16


class Segment(Record, frozen=True, kw_only=True):
    """From position ``start`` on, source s has ``shares[s]`` of each ``sum(shares)`` positions;
    ``consumed[s]`` of its samples came before."""

    start: int
    shares: tuple[int, ...]
    consumed: tuple[int, ...]


class Draws(NamedTuple):
    """For each position the number of a source, and a position in the endless stream of it."""

    sources: Indices
    positions: Indices


def shares_of(weights: Sequence[float], period: int = PERIOD) -> tuple[int, ...]:
    """Whole shares of ``period`` by largest remainder: each is off by less than one.

    Raise ``ValueError`` for weights below 0 or that sum to 0, for one above 0 that is too small to
    come at all in a period, and for a period that is none.
    """
    if not 1 <= period <= PERIOD_MOST:
        raise ValueError(f"a period has 1 to {PERIOD_MOST} samples, not {period}")
    exact = [Fraction(weight) if isfinite(weight) else Fraction(-1) for weight in weights]
    total = sum(exact)
    if any(weight < 0 for weight in exact) or total <= 0:
        raise ValueError("weights are numbers of 0 or more, and one is above 0")
    ideal = [weight * period / total for weight in exact]
    shares = [int(share) for share in ideal]
    by_remainder = sorted(range(len(ideal)), key=lambda s: (shares[s] - ideal[s], s))
    for source in by_remainder[: period - sum(shares)]:
        shares[source] += 1
    lost = [s for s, weight in enumerate(exact) if weight > 0 and shares[s] == 0]
    if lost:
        raise ValueError(f"weight {weights[lost[0]]} is too small for one in {period} samples")
    return tuple(shares)


def draws_at(segments: Sequence[Segment], seed: int, positions: Indices) -> Draws:
    """What comes at ``positions``, which ascend; the first segment starts at 0."""
    sources = np.empty(len(positions), dtype=np.int64)
    inner = np.empty(len(positions), dtype=np.int64)
    held = _holding(segments, int(positions[0])) if len(positions) else 0
    for number in range(held, len(segments)):
        segment = segments[number]
        stop = segments[number + 1].start if number + 1 < len(segments) else None
        if len(positions) == 0 or segment.start > positions[-1]:
            break
        first = int(np.searchsorted(positions, segment.start))
        last = len(positions) if stop is None else int(np.searchsorted(positions, stop))
        if first < last:
            sources[first:last], inner[first:last] = _draws_in(
                segment, derived_seed(seed, number), positions[first:last]
            )
    return Draws(sources, inner)


def consumed_at(segments: Sequence[Segment], seed: int, position: int) -> tuple[int, ...]:
    """Samples of each source before ``position``."""
    number = _holding(segments, position)
    segment = segments[number]
    period, slot = divmod(position - segment.start, sum(segment.shares))
    sources, _ = _period(segment.shares, derived_seed(seed, number), period)
    inside = np.bincount(sources[:slot], minlength=len(segment.shares)).tolist()
    return tuple(
        before + period * share + more
        for before, share, more in zip(segment.consumed, segment.shares, inside, strict=True)
    )


def reweighed(
    segments: tuple[Segment, ...], seed: int, position: int, shares: tuple[int, ...]
) -> tuple[Segment, ...]:
    """The same draws before ``position``, and ``shares`` from there on. There may be more shares
    than before: their sources are new."""
    if position == 0:
        return (Segment(start=0, shares=shares, consumed=(0,) * len(shares)),)
    kept = tuple(segment for segment in segments if segment.start < position)
    if kept[-1].shares == shares:
        return kept
    consumed = consumed_at(kept, seed, position)
    consumed += (0,) * (len(shares) - len(consumed))
    return (*kept, Segment(start=position, shares=shares, consumed=consumed))


def shares_at(segments: Sequence[Segment], position: int) -> tuple[int, ...]:
    """The shares that hold at ``position``."""
    return segments[_holding(segments, position)].shares


def _holding(segments: Sequence[Segment], position: int) -> int:
    return bisect_right(segments, position, key=lambda segment: segment.start) - 1


def _draws_in(segment: Segment, key: int, positions: Indices) -> Draws:
    shares = np.array(segment.shares, dtype=np.int64)
    if np.count_nonzero(shares) == 1:
        only = int(np.flatnonzero(shares)[0])
        inner = positions - segment.start + segment.consumed[only]
        return Draws(np.full_like(positions, only), inner)
    period_size = int(shares.sum())
    periods = (positions - segment.start) // period_size
    slots = (positions - segment.start) % period_size
    found, first = np.unique(periods, return_index=True)
    sources, ranks = np.empty_like(positions), np.empty_like(positions)
    for period, begin, end in zip(found.tolist(), first, [*first[1:], len(slots)], strict=True):
        of_slot, rank_of_slot = _period(segment.shares, key, period)
        sources[begin:end] = of_slot[slots[begin:end]]
        ranks[begin:end] = rank_of_slot[slots[begin:end]]
    before = np.array(segment.consumed, dtype=np.int64)
    return Draws(sources, before[sources] + periods * shares[sources] + ranks)


@lru_cache(maxsize=_PERIODS_KEPT)
def _period(shares: tuple[int, ...], key: int, period: int) -> tuple[Indices, Indices]:
    """For each slot its source, and how many slots before it have the same. To be read only."""
    sources = np.repeat(np.arange(len(shares)), shares)
    sources = sources[np.argsort(hashed(derived_seed(key, period), len(sources)))]
    by_source = np.argsort(sources, kind="stable")
    starts = np.repeat(np.cumsum(shares) - shares, shares)
    ranks = np.empty_like(sources)
    ranks[by_source] = np.arange(len(sources)) - starts
    return sources, ranks
