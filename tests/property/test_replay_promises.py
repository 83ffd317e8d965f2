"""The promises of ``headrace.simulate.replay``, for every cluster, queue and policy drawn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.schedules import Job, clusters, jobs_for

from headrace.core.records import replace
from headrace.schedule.cluster import Cluster, Qos
from headrace.schedule.policies import POLICIES
from headrace.schedule.state import Policy
from headrace.simulate.replay import Costs, NodeEvent, Replay, replay
from headrace.simulate.trace import Trace, TraceJob

policies = st.sampled_from(list(POLICIES.values()))
QOS = (Qos(name="urgent", preempts=("normal",)), Qos(name="normal", exempt_s=5.0))


@st.composite
def scenes(draw: st.DrawFn, *, elastic: bool) -> tuple[Cluster, Trace]:
    cluster = draw(clusters(qos=QOS))
    jobs = draw(jobs_for(cluster, elastic=elastic))
    return cluster, Trace(name="drawn", jobs=tuple(_job(one) for one in jobs))


def _job(one: Job) -> TraceJob:
    return TraceJob(job=replace(one.queued, limit_s=3000.0), run_s=one.run_s)


@st.composite
def failures_of(draw: st.DrawFn, cluster: Cluster) -> list[NodeEvent]:
    """Each node at most once, and it comes back."""
    found = []
    for node in draw(st.sets(st.integers(0, len(cluster.nodes) - 1))):
        down_s = float(draw(st.integers(0, 300)))
        up_s = down_s + draw(st.integers(1, 100))
        found += [NodeEvent(down_s, node, up=False), NodeEvent(up_s, node, up=True)]
    return sorted(found)


def node_seconds(done: Replay, number: int) -> float:
    cut = [one for one in done.cut if one.job == number]
    before = sum((one.end_s - one.begin_s) * one.slices for one in cut)
    last_s = done.busy_s[number] - sum(one.end_s - one.begin_s for one in cut)
    return before + last_s * done.slices[number]


@given(st.data(), scenes(elastic=False), policies, st.sampled_from((0.0, 3.0)))
def test_a_job_holds_its_nodes_for_its_work_and_what_was_lost_and_nothing_else(
    data: st.DataObject, scene: tuple[Cluster, Trace], chosen: Policy, restart_s: float
) -> None:
    cluster, trace = scene
    failures = data.draw(failures_of(cluster))
    costs = Costs(checkpoint_s=20.0, restart_s=restart_s)
    done = replay(trace, chosen, cluster=cluster, failures=failures, costs=costs)
    for number, one in enumerate(trace.jobs):
        if done.end_s[number] is None:
            continue
        stops = done.preempted[number] + done.failed[number]
        least_s = one.run_s + done.lost_s[number]
        assert least_s - 1e-6 <= done.busy_s[number] <= least_s + stops * restart_s + 1e-6
        assert done.failed[number] or not done.lost_s[number]


@given(scenes(elastic=True), policies)
def test_widths_may_change_but_not_the_work(scene: tuple[Cluster, Trace], chosen: Policy) -> None:
    cluster, trace = scene
    done = replay(trace, chosen, cluster=cluster)
    for number, one in enumerate(trace.jobs):
        if done.end_s[number] is not None:
            work = one.run_s * one.job.request.nodes_max
            assert node_seconds(done, number) == pytest.approx(work)


@given(st.data(), scenes(elastic=True), policies)
def test_what_fits_ends_though_nodes_fail_and_the_same_again(
    data: st.DataObject, scene: tuple[Cluster, Trace], chosen: Policy
) -> None:
    cluster, trace = scene
    failures = data.draw(failures_of(cluster))
    first, second = (replay(trace, chosen, cluster=cluster, failures=failures) for _ in range(2))
    alone = [replay(Trace(name="", jobs=(one,)), chosen, cluster=cluster) for one in trace.jobs]
    ended = [end_s is not None for end_s in first.end_s]
    assert ended == [one.end_s[0] is not None for one in alone]
    assert first == second
