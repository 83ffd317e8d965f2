"""Multifactor priority, factor by factor, with figures worked out by hand."""

import pytest

from headrace.core.records import replace
from headrace.schedule.cluster import (
    Account,
    Cluster,
    NodeSpec,
    Partition,
    Qos,
    Tres,
    Weights,
)
from headrace.schedule.ledger import Ledger
from headrace.schedule.multifactor import HIGHEST, Multifactor, own_order
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request

NODES = tuple(
    NodeSpec(name=f"n{number}", cpus=8, memory_bytes=1000, gpus=(("a100", 4),))
    for number in range(10)
)


def cluster(**changes: object) -> Cluster:
    return Cluster(nodes=NODES, **changes)  # type: ignore[arg-type]


def run(name: str = "a", *, nodes: int = 1, **changes: object) -> Queued:
    request = Request(nodes_min=nodes, nodes_max=nodes, cpus_per_rank=8, gpus_per_node=2)
    return replace(Queued(id=name, request=request, submitted_s=0.0), **changes)


def test_age_grows_to_its_weight_and_no_further() -> None:
    order = Multifactor(cluster(weights=Weights(age=1000, max_age_s=100.0)))
    assert [order.priority(run(), now_s) for now_s in (0.0, 25.0, 100.0, 1e6)] == [
        1,
        250,
        1000,
        1000,
    ]


def test_age_counts_from_the_begin_time_or_from_when_the_caller_says() -> None:
    order = Multifactor(cluster(weights=Weights(age=1000, max_age_s=100.0)))
    assert order.priority(run(begin_s=20.0), 50.0) == 300
    assert order.priority(run(), 50.0, eligible_s=40.0) == 100
    assert order.priority(run(), 50.0, eligible_s=60.0) == 1


def test_job_size_is_the_mean_of_its_parts_of_nodes_and_cpus() -> None:
    whole = Multifactor(cluster(weights=Weights(job_size=1000)))
    assert [whole.priority(run(nodes=nodes), 0.0) for nodes in (1, 5, 10)] == [100, 500, 1000]
    small = Multifactor(cluster(weights=Weights(job_size=1000, favor_small=True)))
    assert small.priority(run(nodes=5), 0.0) == 500
    assert small.priority(run(nodes=1), 0.0) == 900


def test_job_size_relative_to_time_is_one_for_all_cpus_for_a_minute() -> None:
    order = Multifactor(cluster(weights=Weights(job_size=1000, small_relative_to_time=True)))
    assert order.priority(run(nodes=10, limit_s=60.0), 0.0) == 1000
    assert order.priority(run(nodes=10, limit_s=600.0), 0.0) == 100
    assert order.priority(run(nodes=10), 0.0) == 1


def test_partition_qos_and_association_are_parts_of_the_highest() -> None:
    site = cluster(
        partitions=(Partition(name="slow", job_factor=1), Partition(name="fast", job_factor=4)),
        qos=(Qos(name="normal", priority=10), Qos(name="high", priority=40)),
        accounts=(
            Account(name="lab", user="ada", priority=1),
            Account(name="lab", user="bob", priority=2),
        ),
        weights=Weights(partition=1000, qos=100, assoc=10),
    )
    order = Multifactor(site)
    job = run(user="ada", account="lab", partitions=("slow",))
    assert order.priority(job, 0.0) == 250 + 25 + 5
    best = run(user="bob", account="lab", partitions=("slow", "fast"), qos="high")
    assert order.priority(best, 0.0) == 1000 + 100 + 10


def test_no_normal_weighs_values_as_they_are() -> None:
    site = cluster(
        qos=(Qos(name="high", priority=40),),
        weights=Weights(qos=3, no_normal=("qos", "tres"), tres=Tres(gpu=7.0)),
    )
    assert Multifactor(site).priority(run(qos="high", nodes=2), 0.0) == 3 * 40 + 7 * 4


def test_tres_factors_are_parts_of_the_partition() -> None:
    site = cluster(
        partitions=(Partition(name="half", nodes=tuple(f"n{i}" for i in range(5))),),
        weights=Weights(tres=Tres(gpu=1000.0, cpu=100.0)),
    )
    factors = Multifactor(site).factors(run(nodes=2, partitions=("half",)), 0.0)
    assert factors.tres["gpu"].raw == 4 / 20
    assert factors.tres["cpu"].weighted == pytest.approx(100 * 16 / 40)
    assert factors.total == 240


def test_fair_share_is_that_of_the_last_recalculation() -> None:
    site = cluster(
        accounts=(Account(name="lab", user="ada"), Account(name="lab", user="bob")),
        weights=Weights(fairshare=1000),
    )
    order, ledger = Multifactor(site), Ledger(site.weights.half_life_s)
    ledger.start(0.0, "lab", "ada", 8.0)
    order.recalculate(ledger.usage(100.0))
    assert order.priority(run(user="ada", account="lab"), 100.0) == 500
    assert order.priority(run(user="bob"), 100.0) == 1000
    assert order.priority(run(user="eve", account="lab"), 100.0) == 1


def test_a_newcomer_is_first_where_nobody_has_an_account() -> None:
    order, ledger = Multifactor(cluster(weights=Weights(fairshare=1000))), Ledger(100.0)
    ledger.start(0.0, "", "ada", 8.0)
    order.recalculate(ledger.usage(10.0))
    assert order.priority(run(user="ada"), 10.0) == 500
    assert order.priority(run(user="bob"), 10.0) == 1000


def test_priority_stays_between_one_and_the_highest_and_is_zero_while_held() -> None:
    order = Multifactor(cluster(weights=Weights(age=HIGHEST, max_age_s=1.0)))
    assert order.priority(run(nice=-5), 9.0) == HIGHEST
    assert order.priority(run(nice=5), 0.0) == 1
    assert order.priority(run(held=True), 9.0) == 0


def test_the_parts_add_up_to_the_priority() -> None:
    site = cluster(
        qos=(Qos(name="normal", priority=1),),
        weights=Weights(age=100, job_size=200, qos=300, max_age_s=10.0),
    )
    factors = Multifactor(site).factors(run(nice=7, nodes=5), 5.0)
    parts = (factors.age, factors.job_size, factors.qos)
    assert [part.weighted for part in parts] == [50.0, 100.0, 300.0]
    assert factors.total == 443


def test_the_tier_comes_before_the_priority_then_submission_then_the_id() -> None:
    site = cluster(
        partitions=(Partition(name="low", job_factor=9), Partition(name="high", tier=2)),
        weights=Weights(partition=1000),
    )
    order = Multifactor(site)
    jobs = [
        run("r-10", partitions=("low",)),
        run("r-9", partitions=("low",)),
        run("late", partitions=("low",), submitted_s=5.0),
        run("up", partitions=("low", "high"), submitted_s=9.0),
    ]
    in_order = sorted(jobs, key=lambda job: order.sort_key(job, 10.0))
    assert [job.id for job in in_order] == ["up", "r-9", "r-10", "late"]


def test_a_users_own_priority_reorders_only_that_users_runs() -> None:
    queue = [
        run("a1", user="ada"),
        run("b1", user="bob"),
        run("a2", user="ada", priority=5),
        run("a3", user="ada", qos="high", priority=9),
    ]
    assert [job.id for job in own_order(queue)] == ["a2", "b1", "a1", "a3"]
