"""The replay check: when a replay may be believed, and the words that say so."""

import numpy as np
import pytest
from tests.replays import cluster, job, replayed, trace

from headrace.simulate.fidelity import Fidelity, fidelity, history, ks_distance
from headrace.simulate.measure import measure
from headrace.simulate.replay import Replay
from headrace.simulate.trace import Trace


def waited(*waits_s: float) -> Trace:
    """Jobs an hour apart that waited so long in history."""
    jobs = (
        job(f"j{n}", 3600.0 * n, 60, history=3600.0 * n + wait_s)
        for n, wait_s in enumerate(waits_s)
    )
    return trace(*jobs)


def after(made: Trace, *waits_s: float) -> Replay:
    starts = [one.job.submitted_s + wait for one, wait in zip(made.jobs, waits_s, strict=True)]
    return replayed(made, starts, "easy")


TEN_MINUTES = [600.0] * 40


def test_a_replay_that_starts_jobs_as_history_did_is_faithful() -> None:
    made = waited(*TEN_MINUTES)
    found = fidelity(after(made, *TEN_MINUTES))
    assert (found.verdict, found.jobs, found.without_history) == ("faithful", 40, 0)
    assert found.close_share == 1
    assert found.order == pytest.approx(1)
    assert found.sentence.startswith("Replay check (easy): behaves like history (median wait 10 m")


def test_a_replay_with_other_waits_refuses_to_conclude() -> None:
    made = waited(*TEN_MINUTES)
    found = fidelity(after(made, *[7200.0] * 40))
    assert found.verdict == "off"
    assert found.overall is not None
    assert (found.overall.ks, found.close_share) == (1.0, 0.0)
    assert "NOT like history. No conclusion about the real cluster can be drawn" in found.sentence
    assert "median wait 2 h against 10 min in history" in found.sentence


def test_between_the_two_only_large_differences_count() -> None:
    waits = list(np.linspace(0, 36_000, 60))
    made = waited(*waits)
    found = fidelity(after(made, *(0.8 * wait for wait in waits)))
    assert found.verdict == "rough"
    assert found.overall is not None
    assert 0.10 < found.overall.ks <= 0.25
    assert "believe large differences only" in found.sentence


def test_waits_under_a_minute_are_alike() -> None:
    made = waited(*[45.0] * 40)
    assert fidelity(after(made, *[0.0] * 40)).verdict == "faithful"


def test_without_history_nothing_can_be_checked_and_that_is_said() -> None:
    made = trace(*(job(f"j{n}", n, 60) for n in range(50)), job("known", 99, 60, history=100.0))
    found = fidelity(replayed(made, [float(n) for n in range(51)]))
    assert (found.verdict, found.jobs, found.without_history) == ("unknown", 1, 50)
    assert "only 1 of 51 jobs say when they started" in found.sentence


def test_sizes_and_partitions_are_compared_apart() -> None:
    small = [job(f"s{n}", n, 60, gpus=1, partitions=("debug",), history=n) for n in range(40)]
    large = [job(f"l{n}", n, 60, partitions=("main",), history=n + 3600.0) for n in range(40)]
    made = trace(*small, *large)
    found: Fidelity = fidelity(replayed(made, [float(n) for n in range(40)] * 2))
    assert [(one.name, one.ks) for one in found.by_size] == [("1 GPU", 0.0), ("3-4 GPUs", 1.0)]
    assert [one.name for one in found.by_partition] == ["debug", "main"]
    assert found.by_partition[1].history_median_s == 3600


def test_history_has_measures_like_any_replay() -> None:
    made = waited(*TEN_MINUTES)
    found = measure(history(made), cluster=cluster())
    assert found.policy == "history"
    assert found.wait_s is not None
    assert found.wait_s.mean == 600


def test_the_distance_of_two_distributions_is_their_largest_gap() -> None:
    one, other = np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.0, 4.0, 5.0, 6.0])
    assert ks_distance(one, other) == 0.5
    assert ks_distance(one, one) == 0
