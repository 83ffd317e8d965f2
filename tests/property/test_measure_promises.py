"""Promises of the measures, for every replay that can be drawn."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.replays import cluster, job, trace

from headrace.schedule.policies import POLICIES, policy
from headrace.simulate.comparison import Scenario, compare
from headrace.simulate.failures import node_events, parse_failures
from headrace.simulate.jobs import Holds, Jobs
from headrace.simulate.measure import Spread, jain, measure
from headrace.simulate.replay import replay
from headrace.simulate.trace import Trace, TraceJob

HARSH = "rate=3000,repair=1h,checkpoint=10m,restart=1m,storage=300,outage=10m"


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    def one(number: int) -> TraceJob:
        run_s = draw(st.floats(1, 20_000))
        return job(
            f"j{number}",
            draw(st.floats(0, 50_000)),
            run_s,
            nodes=draw(st.integers(1, 3)),
            gpus=draw(st.integers(0, 4)),
            user=draw(st.sampled_from("abc")),
            limit_s=run_s * draw(st.floats(1, 3)),
            cancelled_s=draw(st.none() | st.floats(0, 90_000)),
        )

    jobs = [one(number) for number in range(draw(st.integers(1, 25)))]
    return trace(*sorted(jobs, key=lambda one: one.job.submitted_s), where=cluster(3))


def ordered(spread: Spread | None) -> bool:
    if spread is None:
        return True
    steps = (0.0, spread.median, spread.p90, spread.p95, spread.p99, spread.max)
    return list(steps) == sorted(steps) and spread.mean <= spread.max * (1 + 1e-9)


@settings(deadline=None, max_examples=60)
@given(traces(), st.sampled_from(sorted(POLICIES)), st.booleans())
def test_measures_are_consistent_whatever_happened(made: Trace, name: str, fails: bool) -> None:
    where = cluster(3)
    model = parse_failures(HARSH)
    events = node_events(model, where, seed=1, begin_s=0, until_s=300_000) if fails else []
    found = replay(made, policy(name), cluster=where, failures=events, costs=model.costs)
    measures = measure(found, cluster=where, failures=events)
    assert ordered(measures.wait_s)
    assert ordered(measures.completion_s)
    assert measures.slowdown is None or measures.slowdown.median >= 1
    assert measures.started + sum(measures.never_started.values()) == measures.jobs
    assert measures.jain is None or 0 < measures.jain <= 1 + 1e-9
    for use in measures.uses:
        assert -1e-9 <= use.share <= 1 + 1e-9
        assert -1e-9 <= use.share_middle <= 1 + 1e-9
        assert use.useful_h >= -1e-9
        assert use.lost_h >= -1e-9
        assert abs(use.useful_h + use.lost_h - use.allocated_h) < 1e-6
    assert all(-1e-6 <= share <= 1 + 1e-6 for share in measures.course.used)
    assert all(length >= -1e-3 for length in measures.course.waiting)
    waits = [wait_s for _, wait_s in measures.wait_quantiles]
    assert waits == sorted(waits)


@settings(deadline=None, max_examples=60)
@given(traces(), st.booleans())
def test_gpu_seconds_are_the_same_summed_by_stretch_by_job_by_group_and_over_time(
    made: Trace, fails: bool
) -> None:
    where = cluster(3)
    model = parse_failures(HARSH)
    events = node_events(model, where, seed=2, begin_s=0, until_s=300_000) if fails else []
    found = replay(made, policy("easy"), cluster=where, failures=events, costs=model.costs)
    jobs, holds = Jobs.of(made), Holds.of(found)
    stretches = float(((holds.end_s - holds.begin_s) * holds.slices * jobs.gpus[holds.job]).sum())
    by_job = sum(
        busy_s * slices * one.job.request.gpus_per_node
        for busy_s, slices, one in zip(found.busy_s, found.slices, made.jobs, strict=True)
    )
    measures = measure(found, cluster=where, failures=events)
    total = measures.use.allocated_h * 3600 if jobs.gpus.any() else 0.0
    course, tolerance = measures.course, 1e-3 + 1e-6 * stretches
    assert abs(stretches - by_job) < tolerance
    if jobs.gpus.any():
        over_time = sum(course.used) * course.step_s * measures.use.count
        assert abs(stretches - total) < tolerance
        assert abs(stretches - over_time) < 1 + 1e-4 * stretches
        assert abs(sum(one.hours for one in measures.by_size) * 3600 - total) < tolerance
        assert abs(sum(one.hours for one in measures.by_user) * 3600 - total) < tolerance


@settings(deadline=None, max_examples=20)
@given(traces(), st.integers(0, 3))
def test_the_same_seed_gives_the_same_comparison(made: Trace, seed: int) -> None:
    scenario = Scenario(policies=("fifo", "easy"), failures=parse_failures(HARSH), seed=seed)
    assert compare(made, scenario)[0] == compare(made, scenario)[0]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_jains_index_lies_between_one_nth_and_one(values: list[float]) -> None:
    found = jain(values)
    assert found is None or 1 / len(values) - 1e-9 <= found <= 1 + 1e-9
