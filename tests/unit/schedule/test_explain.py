"""The place in the queue, what it is made of, and the smallest change that starts a run sooner."""

from collections.abc import Sequence
from typing import Any

import pytest

from headrace.schedule.change import Change, changed, takes, words
from headrace.schedule.cluster import (
    Account,
    Cluster,
    NodeSpec,
    Partition,
    Reservation,
    Weights,
)
from headrace.schedule.disciplines.easy import Easy
from headrace.schedule.explain import Explanation, Sooner, explain
from headrace.schedule.orders.multifactor import FairShare
from headrace.schedule.policies import policy
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request
from headrace.schedule.scheduler import Scheduler
from headrace.schedule.state import Policy

HOUR_S = 3600.0


def job(
    name: str,
    nodes: int = 1,
    *,
    gpus: int = 0,
    gpu_type: str | None = None,
    limit_s: float | None = HOUR_S,
    **queued: Any,  # noqa: ANN401
) -> Queued:
    request = Request(
        nodes_min=nodes,
        nodes_max=nodes,
        ranks_per_node=gpus or 1,
        gpus_per_node=gpus,
        gpu_type=gpu_type,
    )
    return Queued(id=name, request=request, submitted_s=0.0, limit_s=limit_s, **queued)


def explained(
    jobs: Sequence[Queued],
    run_id: str,
    *,
    nodes: Sequence[NodeSpec] | int = 8,
    how: Policy | None = None,
    now_s: float = 0.0,
    **site: Any,  # noqa: ANN401
) -> Explanation:
    if isinstance(nodes, int):
        nodes = [NodeSpec(name=f"n{number}", cpus=1) for number in range(nodes)]
    scheduler = Scheduler(Cluster(nodes=tuple(nodes), **site), how or policy("easy"))
    for one in jobs:
        scheduler.submit(one, 0.0)
    scheduler.decide(0.0)
    return explain(scheduler, run_id, now_s)


def test_fewer_nodes_or_a_shorter_limit_start_a_run_sooner() -> None:
    maintenance = Reservation(
        name="m",
        start_s=11.5 * HOUR_S,
        end_s=15 * HOUR_S,
        nodes=("n6", "n7"),
        maintenance=True,
    )
    found = explained(
        [job("a", 8), job("b", 8, limit_s=12 * HOUR_S)], "b", reservations=(maintenance,)
    )
    assert found.forecast.start_s == 15 * HOUR_S
    assert found.sooner == (
        Sooner(change=Change(limit_s=10 * HOUR_S), start_s=HOUR_S),
        Sooner(change=Change(nodes=6), start_s=HOUR_S),
    )


def test_both_are_changed_only_when_neither_alone_helps() -> None:
    maintenance = Reservation(
        name="m", start_s=2 * HOUR_S, end_s=9.5 * HOUR_S, nodes=("n0", "n1", "n2"), maintenance=True
    )
    jobs = [job("a", 1, limit_s=10 * HOUR_S), job("b", 4, limit_s=3 * HOUR_S)]
    found = explained(jobs, "b", nodes=4, reservations=(maintenance,))
    assert found.forecast.start_s == 10 * HOUR_S
    assert found.sooner == (Sooner(change=Change(nodes=2, limit_s=HOUR_S), start_s=0.0),)


def test_another_partition_that_is_free_and_open_to_the_run_is_offered() -> None:
    partitions = (
        Partition(name="full", nodes=("n0",), default=True),
        Partition(name="closed", nodes=("n1",), allow_accounts=("other",)),
        Partition(name="free", nodes=("n1",)),
    )
    jobs = [job("a", limit_s=2 * HOUR_S), job("b")]
    found = explained(jobs, "b", nodes=2, partitions=partitions)
    assert found.sooner == (Sooner(change=Change(partition="free"), start_s=0.0),)


def test_another_type_of_gpu_is_offered_and_fewer_gpus_only_when_nothing_else_helps() -> None:
    nodes = [
        NodeSpec(name="n0", cpus=8, gpus=(("H100", 4),)),
        NodeSpec(name="n1", cpus=8, gpus=(("A100", 4),)),
    ]
    jobs = [
        job("a", gpus=3, gpu_type="H100", limit_s=2 * HOUR_S),
        job("b", gpus=4, gpu_type="H100", limit_s=HOUR_S),
    ]
    found = explained(jobs, "b", nodes=nodes)
    assert found.sooner == (
        Sooner(change=Change(gpu_type="any"), start_s=0.0),
        Sooner(change=Change(gpu_type="A100"), start_s=0.0),
    )
    found = explained(jobs, "b", nodes=nodes[:1])
    assert found.sooner == (Sooner(change=Change(gpus_per_node=1), start_s=0.0),)


def test_a_change_is_offered_also_where_the_start_of_the_run_as_it_is_cannot_be_told() -> None:
    found = explained([job("a", 7, limit_s=None), job("b", 2, limit_s=None)], "b")
    assert found.forecast.start_s is None
    assert found.sooner == (Sooner(change=Change(nodes=1), start_s=0.0),)


def test_a_gain_that_is_not_worth_while_is_not_offered() -> None:
    jobs = [job("a", 8, limit_s=100.0), job("c", 1, limit_s=5.0), job("b", 8)]
    assert explained(jobs, "b").sooner == ()


def test_the_place_counts_all_that_wait_and_names_the_first() -> None:
    jobs = [job("a", 8), *(job(f"b-{number}", 8) for number in range(9))]
    found = explained(jobs, "b-8")
    assert found.standing is not None
    assert (found.standing.place, found.standing.of) == (9, 9)
    assert found.standing.before == ("b-0", "b-1", "b-2", "b-3", "b-4")
    assert found.forecast.start_s == 9 * HOUR_S


def test_a_run_that_is_not_in_the_queue_has_reasons_but_no_place() -> None:
    found = explained([job("a", held=True)], "a")
    assert (found.standing, found.sooner, len(found.reasons)) == (None, (), 1)


def test_factors_are_told_where_the_order_has_them() -> None:
    how = Policy("fair", FairShare, Easy)
    accounts = (Account(name="lab"), Account(name="lab", user="ada"))
    jobs = [job(name, 8, account="lab", user="ada") for name in ("a", "b")]
    weights = Weights(fairshare=1000, age=100)
    found = explained(jobs, "b", how=how, accounts=accounts, weights=weights)
    assert found.factors is not None
    assert found.factors.total == 1000


def test_the_same_question_gets_the_same_answer() -> None:
    jobs = [job("a", 8), *(job(f"b-{number}", 1 + number % 8) for number in range(40))]
    assert explained(jobs, "b-39") == explained(jobs, "b-39")


def test_a_changed_run_is_one_submitted_anew() -> None:
    old = job("a_3", 4, gpus=4, array_id="a", array_throttle=2, begin_s=5.0)
    new = changed(old, Change(nodes=2, gpus_per_node=2, gpu_type="any", partition="p"), 50.0)
    assert (new.request.nodes_min, new.request.nodes_max) == (2, 2)
    assert (new.request.gpus_per_node, new.request.ranks_per_node) == (2, 2)
    assert (new.submitted_s, new.partitions, new.array_id, new.begin_s) == (
        50.0,
        ("p",),
        None,
        None,
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Change(nodes=6), "6 nodes"),
        (Change(nodes=1, limit_s=5400.0), "1 node and 1h30m"),
        (Change(gpus_per_node=1), "1 GPU a node"),
        (Change(gpu_type="any"), "any type of GPU"),
        (Change(gpu_type="A100", partition="old"), "A100 GPUs and partition old"),
    ],
)
def test_a_change_in_words(change: Change, said: str) -> None:
    assert words(change) == said


def test_a_partition_is_held_to_its_own_rules() -> None:
    accounts = (Account(name="lab"), Account(name="team", parent="lab"))
    cluster = Cluster(nodes=(), accounts=accounts)
    run = job("a", 4, account="team")
    assert takes(Partition(name="p", allow_accounts=("lab",), max_time_s=HOUR_S), run, cluster)
    assert not takes(Partition(name="p", allow_accounts=("other",)), run, cluster)
    assert not takes(Partition(name="p", allow_qos=("high",)), run, cluster)
    assert not takes(Partition(name="p", max_nodes=3), run, cluster)
    assert not takes(Partition(name="p", max_time_s=60.0), run, cluster)
