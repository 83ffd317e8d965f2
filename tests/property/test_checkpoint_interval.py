"""The promises of ``headrace.train.interval``: least time lost, within bounds."""

import math

from hypothesis import given
from hypothesis import strategies as st

from headrace.train.interval import (
    AUTOMATIC_S,
    LONGEST_S,
    RANK_FAILS_EVERY_S,
    SHORTEST_S,
    Cost,
    automatic,
    between_failures_s,
    daly_s,
)

costs_s = st.floats(0.001, 600)
failures_s = st.floats(60, 1e9)


def lost(work_s: float, cost_s: float, mtbf_s: float) -> float:
    """Wall time for each second of work, saves and failures together, restarts free (Daly 2006,
    equation 20, with exponential failures)."""
    return mtbf_s * math.expm1((work_s + cost_s) / mtbf_s) / work_s


@given(costs_s, failures_s, st.floats(0.01, 100))
def test_no_other_interval_loses_noticeably_less(cost_s: float, mtbf_s: float, of: float) -> None:
    best_s = daly_s(cost_s, mtbf_s)
    if cost_s < mtbf_s / 2 and best_s * of < 20 * mtbf_s:
        assert lost(best_s, cost_s, mtbf_s) <= lost(best_s * of, cost_s, mtbf_s) * 1.01


@given(costs_s, failures_s)
def test_it_is_youngs_where_failures_are_rare(cost_s: float, mtbf_s: float) -> None:
    if mtbf_s > 1e6 * cost_s:
        assert math.isclose(daly_s(cost_s, mtbf_s), math.sqrt(2 * cost_s * mtbf_s), rel_tol=2e-3)


@given(st.floats(0, 600), st.floats(0, 36_000), failures_s)
def test_it_stays_within_bounds_and_leaves_a_save_the_time_it_takes(
    stall_s: float, durable_s: float, mtbf_s: float
) -> None:
    every_s = automatic(Cost(stall_s, durable_s), between_failures_s=mtbf_s).every_s
    assert every_s is not None
    assert every_s >= SHORTEST_S
    assert every_s >= 2 * durable_s
    assert every_s <= max(LONGEST_S, 2 * durable_s)


@given(costs_s, failures_s, st.floats(1, 1000))
def test_rarer_failures_never_shorten_it(cost_s: float, mtbf_s: float, times: float) -> None:
    cost = Cost(cost_s, cost_s)
    often = automatic(cost, between_failures_s=mtbf_s).every_s
    rare = automatic(cost, between_failures_s=mtbf_s * times).every_s
    assert often is not None
    assert rare is not None
    assert rare >= often - 1e-6


@given(st.floats(0, 0.1), failures_s)
def test_what_costs_next_to_nothing_is_done_every_ten_minutes_at_least(
    stall_s: float, mtbf_s: float
) -> None:
    every_s = automatic(Cost(stall_s, 1.0), between_failures_s=mtbf_s).every_s
    assert every_s is not None
    assert every_s <= AUTOMATIC_S


@given(st.integers(1, 100_000), st.floats(0, 1e7), st.integers(0, 50))
def test_failures_are_what_was_seen_or_else_what_is_assumed(
    ranks: int, observed_s: float, failures: int
) -> None:
    found_s = between_failures_s(ranks=ranks, observed_s=observed_s, failures=failures)
    if failures:
        assert found_s == observed_s / failures
    else:
        assert found_s == max(RANK_FAILS_EVERY_S / ranks, observed_s)
