"""Synthetic traces: the load that was asked for, shapes that clusters have, the same by seed."""

from collections import Counter

import pytest

from headrace.simulate.synthetic import Synthesis, synthesize
from headrace.simulate.trace import Trace


def gpu_seconds(trace: Trace) -> Counter[int]:
    found: Counter[int] = Counter()
    for one in trace.jobs:
        gpus = one.job.request.nodes_max * one.job.request.gpus_per_node
        found[gpus] += int(one.run_s * gpus)
    return found


@pytest.mark.parametrize("load", [0.5, 0.9, 1.3])
def test_the_load_is_the_one_asked_for(load: float) -> None:
    trace = synthesize(Synthesis(jobs=20_000, gpus=1024, load=load, seed=3))
    span_s = trace.jobs[-1].job.submitted_s
    assert sum(gpu_seconds(trace).values()) / span_s / 1024 == pytest.approx(load, rel=0.01)


def test_most_jobs_are_small_and_most_gpu_time_is_in_large_ones() -> None:
    trace = synthesize(Synthesis(jobs=50_000, gpus=8192))
    jobs = Counter(one.job.request.nodes_max * one.job.request.gpus_per_node for one in trace.jobs)
    work = gpu_seconds(trace)
    assert jobs[1] > 0.6 * jobs.total()
    assert sum(work[size] for size in work if size >= 8) > 0.5 * work.total()
    assert all(size & (size - 1) == 0 for size in jobs)


def test_the_same_seed_gives_the_same_jobs_and_another_gives_others() -> None:
    wanted = Synthesis(jobs=500, gpus=64, seed=1)
    assert synthesize(wanted) == synthesize(wanted)
    assert synthesize(wanted).jobs != synthesize(Synthesis(jobs=500, gpus=64, seed=2)).jobs


def test_jobs_come_in_order_fit_the_cluster_and_share_their_requests() -> None:
    trace = synthesize(Synthesis(jobs=2_000, gpus=100))
    assert trace.cluster is not None
    assert len(trace.cluster.nodes) == 13
    submits = [one.job.submitted_s for one in trace.jobs]
    assert submits == sorted(submits)
    assert all(one.job.request.nodes_max <= 13 for one in trace.jobs)
    assert all(one.job.limit_s is not None and one.run_s <= one.job.limit_s for one in trace.jobs)
    assert len({id(one.job.request) for one in trace.jobs}) < 10


def test_one_gpu_is_a_cluster_too() -> None:
    assert len(synthesize(Synthesis(jobs=10, gpus=1, users=1, accounts=1)).jobs) == 10
