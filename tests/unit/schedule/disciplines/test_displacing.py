"""2D-LAS: ``orders.las`` with ``disciplines.displacing``."""

from dataclasses import replace as with_changes
from functools import partial

from headrace.schedule.cluster import Cluster, NodeSpec
from headrace.schedule.orders.las import LeastService
from headrace.schedule.policies import policy
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request
from headrace.schedule.state import Policy
from headrace.simulate.replay import Costs, Replay, replay
from headrace.simulate.trace import Trace, TraceJob

TWO_GPUS = tuple(NodeSpec(name=f"n{i}", cpus=8, gpus=(("gpu", 1),)) for i in range(2))


def las(*thresholds: float, promote: float = float("inf")) -> Policy:
    order = partial(LeastService, thresholds=thresholds, promote=promote)
    return with_changes(policy("las"), order=order)


def job(name: str, submitted_s: float, run_s: float, nodes: int = 1) -> TraceJob:
    request = Request(nodes_min=nodes, nodes_max=nodes, gpus_per_node=1)
    return TraceJob(job=Queued(id=name, request=request, submitted_s=submitted_s), run_s=run_s)


def run(chosen: Policy, *jobs: TraceJob, costs: Costs | None = None) -> Replay:
    made = Trace(name="made", jobs=jobs, cluster=Cluster(nodes=TWO_GPUS))
    return replay(made, chosen, costs=costs)


def test_a_new_run_displaces_one_that_has_had_its_share() -> None:
    done = run(las(100.0), job("long", 0.0, 1000.0, 2), job("short", 300.0, 10.0))
    assert done.start_s == [0.0, 300.0]
    assert done.end_s == [1010.0, 310.0]
    assert done.preempted == [1, 0]


def test_service_is_gpus_times_seconds() -> None:
    """On two GPUs, 100 GPU-seconds are over after 50 s: then the other's turn comes."""
    done = run(las(100.0), job("wide", 0.0, 1000.0, 2), job("short", 10.0, 10.0))
    assert done.start_s == [0.0, 50.0]


def test_runs_of_one_queue_do_not_displace_each_other() -> None:
    done = run(las(100.0), job("a", 0.0, 500.0, 2), job("b", 10.0, 500.0, 2))
    assert done.start_s == [0.0, 50.0]
    assert done.preempted == [1, 0]
    assert done.end_s == [1000.0, 550.0]


def test_the_last_that_came_into_the_lowest_queue_is_displaced() -> None:
    jobs = (job("a", 0.0, 900.0), job("b", 100.0, 900.0), job("c", 500.0, 10.0))
    assert run(las(50.0, 300.0), *jobs).preempted == [0, 1, 0]


def test_a_run_is_displaced_only_if_that_makes_room_for_the_other() -> None:
    jobs = (job("a", 0.0, 900.0), job("b", 290.0, 300.0), job("wide", 300.0, 10.0, 2))
    done = run(las(100.0), *jobs)
    assert done.preempted == [1, 1, 0]
    assert done.start_s == [0.0, 290.0, 390.0]


def test_a_displaced_run_keeps_its_service_and_its_queue() -> None:
    jobs = (job("long", 0.0, 300.0, 2), job("s1", 120.0, 30.0, 2), job("s2", 160.0, 30.0, 2))
    done = run(las(100.0), *jobs)
    assert done.preempted == [2, 0, 0]
    assert done.end_s == [360.0, 150.0, 190.0]


def test_a_run_that_has_waited_long_begins_anew() -> None:
    shorts = [job(f"s{at}", float(at), 50.0, 2) for at in range(100, 1000, 50)]
    long = job("long", 0.0, 120.0, 2)
    starved = run(las(100.0), long, *shorts)
    helped = run(las(100.0, promote=2.0), long, *shorts)
    assert starved.end_s[0] == 1020.0
    assert helped.end_s[0] is not None
    assert helped.end_s[0] < 500.0


def test_displacing_costs_a_restart() -> None:
    done = run(
        las(100.0),
        job("long", 0.0, 1000.0, 2),
        job("short", 300.0, 10.0),
        costs=Costs(restart_s=25.0),
    )
    assert done.end_s == [1035.0, 310.0]
    assert done.busy_s == [1025.0, 10.0]
