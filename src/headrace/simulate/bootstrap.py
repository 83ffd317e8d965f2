"""How sure a wait is: intervals by drawing weeks of the trace with replacement.

Whole weeks, because jobs of one week wait for each other; days where there are fewer than four
weeks. The interval says what another such month might have given, not what the model gets wrong.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.core.records import Record
from headrace.simulate.jobs import Floats
from headrace.simulate.measure import Outcome

_DAY_S = 86_400.0
_BLOCKS = (("week", 7 * _DAY_S), ("day", _DAY_S))
_BLOCKS_MIN = 4
_RESAMPLES = 1000
_RESAMPLES_SORTED = 200  # of percentiles, which cost a walk over all jobs each
_SIDES = (2.5, 97.5)


class Interval(Record, frozen=True, kw_only=True):
    low: float
    high: float


class Certainty(Record, frozen=True, kw_only=True):
    """95 % intervals of a policy's mean and 90th percentile wait in seconds.

    ``mean_ratio``: of its mean wait to the first policy's, drawn from the same weeks.
    """

    policy: str
    block: str
    blocks: int
    mean_s: Interval
    p90_s: Interval
    mean_ratio: Interval | None


def certainties(
    policies: Sequence[str], outcomes: Sequence[Outcome], *, seed: int = 0
) -> tuple[Certainty, ...]:
    """One a policy, in order; none where the trace spans fewer than four days."""
    found = _blocks(outcomes[0].jobs.eligible_s) if outcomes else None
    if found is None:
        return ()
    name, block_of, count = found
    drawn = np.random.default_rng(seed).multinomial(count, [1 / count] * count, _RESAMPLES)
    means = [_means(one.wait_s, block_of, drawn) for one in outcomes]
    return tuple(
        Certainty(
            policy=policy,
            block=name,
            blocks=count,
            mean_s=_interval(mean),
            p90_s=_interval(_p90(one.wait_s, block_of, drawn[:_RESAMPLES_SORTED])),
            mean_ratio=_ratio(mean, means[0]) if number else None,
        )
        for number, (policy, one, mean) in enumerate(zip(policies, outcomes, means, strict=True))
    )


def _blocks(eligible_s: Floats) -> tuple[str, NDArray[np.int64], int] | None:
    if not len(eligible_s):
        return None
    since_s = eligible_s - eligible_s.min()
    for name, length_s in _BLOCKS:
        whole = int(since_s.max() // length_s) + 1
        if whole >= _BLOCKS_MIN:
            return name, (since_s // length_s).astype(np.int64), whole
    return None


def _means(wait_s: Floats, block_of: NDArray[np.int64], drawn: NDArray[np.int64]) -> Floats:
    known = ~np.isnan(wait_s)
    count = drawn.shape[1]
    sums = np.bincount(block_of[known], wait_s[known], count)
    counts = np.bincount(block_of[known], minlength=count)
    means: Floats = (drawn @ sums) / np.maximum(drawn @ counts, 1)
    return means


def _p90(wait_s: Floats, block_of: NDArray[np.int64], drawn: NDArray[np.int64]) -> Floats:
    known = np.flatnonzero(~np.isnan(wait_s))
    if not len(known):
        return np.zeros(len(drawn))
    order = known[np.argsort(wait_s[known])]
    blocks, waits = block_of[order], wait_s[order]
    found = np.empty(len(drawn))
    for number, weights in enumerate(drawn):
        ranks = np.cumsum(weights[blocks])
        found[number] = waits[min(np.searchsorted(ranks, 0.9 * ranks[-1]), len(waits) - 1)]
    return found


def _interval(values: Floats) -> Interval:
    low, high = np.percentile(values, _SIDES)
    return Interval(low=float(low), high=float(high))


def _ratio(mean: Floats, first: Floats) -> Interval | None:
    some = first > 0
    return _interval(mean[some] / first[some]) if some.any() else None
