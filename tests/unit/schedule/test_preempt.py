"""``headrace.schedule.preempt``: who must stop so that a run that may displace others starts."""

import pytest

from headrace.core.records import replace
from headrace.schedule.cluster import Cluster, NodeSpec, Partition, Qos
from headrace.schedule.policies import policy
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request
from headrace.schedule.scheduler import Scheduler

NODES = tuple(NodeSpec(name=f"n{i}", cpus=1) for i in range(4))
URGENT = Qos(name="urgent", preempts=("spot", "slow"))
SPOT = Qos(name="spot", priority=0, grace_s=30.0)
SLOW = Qos(name="slow", priority=5, exempt_s=100.0)


def job(name: str, qos: str, nodes: int = 1, **more: object) -> Queued:
    request = Request(nodes_min=nodes, nodes_max=nodes)
    asked = Queued(id=name, request=request, submitted_s=0.0, limit_s=1e6, qos=qos)
    return replace(asked, **more)


def running(*jobs: Queued, qos: tuple[Qos, ...] = (URGENT, SPOT, SLOW)) -> Scheduler:
    """Each started ten seconds after the one before it."""
    partitions = (Partition(name="left", nodes=("n0", "n1")),)
    scheduler = Scheduler(Cluster(nodes=NODES, qos=qos, partitions=partitions), policy("easy"))
    for number, one in enumerate(jobs):
        scheduler.submit(one, number * 10.0)
        assert scheduler.decide(number * 10.0).starts
    return scheduler


def stopped(scheduler: Scheduler, now_s: float, *jobs: Queued) -> list[str]:
    for one in jobs:
        scheduler.submit(one, now_s)
    return [stop.run_id for stop in scheduler.decide(now_s).stops]


def test_the_youngest_of_the_lowest_qos_is_stopped() -> None:
    scheduler = running(job("a", "spot"), job("b", "spot"), job("c", "slow"), job("d", "normal"))
    assert stopped(scheduler, 200.0, job("u", "urgent")) == ["b"]
    assert scheduler.active["b"].end_s == 230.0


def test_as_many_are_stopped_as_are_needed_and_none_when_all_are_not_enough() -> None:
    scheduler = running(job("a", "spot"), job("b", "spot"), job("c", "slow"), job("d", "normal"))
    assert stopped(scheduler, 200.0, job("u", "urgent", 4)) == []
    assert stopped(scheduler, 200.0, job("v", "urgent", 3)) == []
    scheduler.remove("u")
    assert sorted(stopped(scheduler, 200.0)) == ["a", "b", "c"]


def test_who_would_not_help_is_left_alone() -> None:
    scheduler = running(job("a", "spot"), job("b", "spot"), job("c", "spot"), job("d", "spot"))
    assert stopped(scheduler, 200.0, job("u", "urgent", partitions=("left",))) == ["b"]


def test_who_is_being_stopped_already_counts_as_gone() -> None:
    scheduler = running(job("a", "spot"), job("b", "spot"), job("c", "spot"), job("d", "spot"))
    assert stopped(scheduler, 200.0, job("u", "urgent")) == ["d"]
    assert stopped(scheduler, 201.0, job("n", "normal")) == []
    assert stopped(scheduler, 202.0, job("v", "urgent")) == ["c"]


def test_a_run_is_stopped_once_its_exempt_time_is_over() -> None:
    scheduler = running(job("a", "slow", 4))
    assert stopped(scheduler, 50.0, job("u", "urgent")) == []
    assert scheduler.wake_s(50.0) == 100.0
    assert stopped(scheduler, 100.0) == ["a"]


def test_one_that_preemption_cannot_start_keeps_its_nodes_from_those_behind() -> None:
    scheduler = running(job("a", "normal"), job("b", "spot", 3))
    whole, small = job("u", "urgent", 4), job("v", "urgent")
    assert stopped(scheduler, 200.0, whole, small) == []


def test_who_displaced_others_starts_when_they_are_gone() -> None:
    scheduler = running(job("a", "spot", 4))
    assert stopped(scheduler, 200.0, job("u", "urgent", 2), job("n", "normal")) == ["a"]
    scheduler.end("a", 220.0)
    assert [one.job.id for one in scheduler.decide(220.0).starts] == ["u", "n"]


@pytest.mark.parametrize("mine", [("urgent",), ("other",)])
def test_two_that_name_each_other_leave_each_other_alone(mine: tuple[str, ...]) -> None:
    qos = (Qos(name="urgent", preempts=mine), Qos(name="other", preempts=("urgent",)))
    scheduler = running(job("a", mine[0], 4), qos=qos)
    assert stopped(scheduler, 200.0, job("u", "urgent")) == []
