"""Failure models: the streams they draw, and the published figures their formulas give."""

from collections import defaultdict

import pytest
from tests.replays import cluster, job, trace

from headrace.core.records import replace
from headrace.schedule.cluster import Cluster, NodeSpec
from headrace.schedule.policies import policy
from headrace.simulate.failures import (
    FailuresUnknown,
    node_events,
    parse_failures,
    with_software_deaths,
)
from headrace.simulate.reliability import ettr, interval_s, mttf_h, software_per_h
from headrace.simulate.replay import NodeEvent, replay

YEAR_S = 365 * 86_400.0


def switched(nodes: int) -> Cluster:
    specs = (NodeSpec(name=f"n{i}", cpus=1, switch=f"core/s{i // 16}") for i in range(nodes))
    return Cluster(nodes=tuple(specs))


def failures_per_1000_node_days(text: str, nodes: int = 4000) -> float:
    events = node_events(parse_failures(text), switched(nodes), seed=5, begin_s=0, until_s=YEAR_S)
    return sum(not event.up for event in events) / (nodes * 365) * 1000


def test_the_time_to_failure_is_the_published_one_at_large_sizes() -> None:
    """1.8 h at 16,384 GPUs and 0.23 h at 131,072, eight a node (arXiv 2410.21680)."""
    assert mttf_h(16_384 // 8, 6.5) == pytest.approx(1.8, abs=0.01)
    assert mttf_h(131_072 // 8, 6.5) == pytest.approx(0.23, abs=0.005)


def test_small_jobs_die_of_software_too() -> None:
    """1,024 GPUs: 28.8 h by the nodes alone, 7.9 h measured."""
    assert mttf_h(128, 6.5) == pytest.approx(28.8, abs=0.1)
    rate = software_per_h(7.9, 128, 6.5)
    assert mttf_h(128, 6.5, rate) == pytest.approx(7.9)


def test_the_best_interval_loses_least() -> None:
    mttf_s, write_s = 1.8 * 3600, 60.0
    best = interval_s(write_s, mttf_s)
    assert best == pytest.approx((2 * 60 * 6480) ** 0.5)

    def ratio(interval: float) -> float:
        return ettr(failures_per_s=1 / mttf_s, restart_s=0, interval_s=interval, write_s=write_s)

    assert ratio(best) > max(ratio(best / 2), ratio(best * 2))
    assert ettr(failures_per_s=1.0, restart_s=10, interval_s=10, write_s=1) == 0


@pytest.mark.parametrize(
    ("text", "rate"), [("rsc1", 6.5), ("rsc2", 2.34), ("rsc1,lemons=0.05", 6.5)]
)
def test_nodes_fail_as_often_as_the_model_says(text: str, rate: float) -> None:
    assert failures_per_1000_node_days(text) == pytest.approx(rate, rel=0.05)


def test_a_lemon_fails_ten_times_as_often() -> None:
    events = node_events(
        parse_failures("rate=20,lemons=0.1,repair=1m"),
        switched(500),
        seed=1,
        begin_s=0,
        until_s=YEAR_S,
    )
    counts: dict[int, int] = defaultdict(int)
    for event in events:
        counts[event.node] += not event.up
    ordered = sorted(counts.values(), reverse=True)
    lemons = sum(count > 15 for count in ordered)
    assert 30 <= lemons <= 75
    worst, rest = ordered[:lemons], ordered[lemons:]
    assert sum(worst) / len(worst) > 7 * sum(rest) / len(rest)


def test_a_switch_takes_all_its_nodes_at_once() -> None:
    events = node_events(
        parse_failures("rate=0,switches=5,detect=0s"),
        switched(32),
        seed=2,
        begin_s=0,
        until_s=YEAR_S,
    )
    down = defaultdict(set)
    for event in events:
        if not event.up:
            down[event.at_s].add(event.node // 16)
            assert sum(other.at_s == event.at_s and not other.up for other in events) == 16
    assert down
    assert all(len(switches) == 1 for switches in down.values())


def test_each_node_goes_down_and_up_in_turn_in_order_of_time() -> None:
    events = node_events(
        parse_failures("rate=200,repair=2d,switches=50,storage=20"),
        switched(32),
        seed=3,
        begin_s=1e6,
        until_s=1e6 + YEAR_S,
    )
    assert [event.at_s for event in events] == sorted(event.at_s for event in events)
    up = [True] * 32
    for event in events:
        assert event.up is not up[event.node]
        up[event.node] = event.up
    assert all(up)


def test_more_nodes_leave_the_failures_of_the_others_as_they_were() -> None:
    model = parse_failures("rsc1,lemons=0.1")

    def of_the_first(nodes: int) -> list[NodeEvent]:
        events = node_events(model, switched(nodes), seed=4, begin_s=0, until_s=YEAR_S)
        return [event for event in events if event.node < 64]

    assert of_the_first(64) == of_the_first(96)


def test_another_seed_gives_other_failures() -> None:
    model = parse_failures("rsc1")
    first, second = (
        node_events(model, switched(64), seed=seed, begin_s=0, until_s=YEAR_S) for seed in (1, 2)
    )
    assert first != second


def test_a_replay_loses_what_was_done_since_the_checkpoint_and_until_it_was_seen() -> None:
    """Checkpoints each 100 s; the node dies at 250 and is seen dead at 270."""
    model = parse_failures("rate=1,checkpoint=100s,restart=7s")
    made = trace(job("a", 0, 300, nodes=2), where=cluster())
    events = [NodeEvent(270, 1, False, 20.0), NodeEvent(500, 1, True)]
    found = replay(made, policy("fifo"), failures=events, costs=model.costs)
    assert (found.failed, found.lost_s) == ([1], [50 + 20])
    assert found.end_s == [500 + 7 + 100]
    assert [(hold.begin_s, hold.end_s, hold.slices) for hold in found.cut] == [(0, 270, 2)]


def test_software_deaths_make_a_job_longer_and_leave_its_work() -> None:
    model = parse_failures("rate=0,software=1,checkpoint=10m,restart=1m")
    made = trace(*(job(f"j{i}", 0, 36_000, limit_s=40_000) for i in range(200)))
    found = with_software_deaths(made, model, seed=1)
    mean_s = sum(one.run_s for one in found.jobs) / 200
    assert mean_s == pytest.approx(36_000 + 10.6 * (300 + 60), rel=0.05)
    assert all(one.job.limit_s == pytest.approx(one.run_s + 4000) for one in found.jobs)
    assert with_software_deaths(made, replace(model, software_per_h=0.0), seed=1) is made


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rsc9", "the models are rsc1, rsc2, llama3; or give rate=PER_1000_NODE_DAYS"),
        ("", "the models are rsc1, rsc2, llama3"),
        ("rsc1,colour=red", "colour: the keys are rate, shape,"),
        ("rsc1,lemons=2", "lemons=2: it is a number from 0 to 1"),
        ("rate=nan", "rate=nan: it is a number from 0 to 1e+06"),
        ("rsc1,repair=soon", "repair=soon: a duration is written 4h"),
        ("rsc1,repair=0s", "repair=0s: it takes some time"),
    ],
)
def test_a_model_that_is_none_is_refused_with_the_rule(text: str, why: str) -> None:
    with pytest.raises(FailuresUnknown) as caught:
        parse_failures(text)
    assert str(caught.value).startswith(f'error HR-SIM-010: "{text}" is not a failure model')
    assert why in caught.value.why
