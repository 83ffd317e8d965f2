"""Each kind of reason, in the words that people read."""

from collections.abc import Sequence
from typing import Any

import pytest

from headrace.core.states import State
from headrace.schedule.cluster import (
    Account,
    Cluster,
    Limits,
    NodeSpec,
    Partition,
    Qos,
    Reservation,
    Tres,
)
from headrace.schedule.limits import Limiter
from headrace.schedule.policies import policy
from headrace.schedule.queue import After, Queued
from headrace.schedule.reason import sentence
from headrace.schedule.reasons import Reasons, reasons
from headrace.schedule.request import Request
from headrace.schedule.scheduler import Scheduler

NODES = tuple(NodeSpec(name=f"n{n}", cpus=8, gpus=(("H100", 4),)) for n in range(4))


def job(
    name: str,
    nodes: int = 1,
    *,
    cpus: int = 1,
    gpus: int = 0,
    limit_s: float | None = 3600.0,
    memory_bytes: int | None = None,
    gpu_type: str | None = None,
    **queued: Any,  # noqa: ANN401
) -> Queued:
    request = Request(
        nodes_min=nodes,
        nodes_max=nodes,
        cpus_per_rank=cpus,
        gpus_per_node=gpus,
        gpu_type=gpu_type,
        memory_bytes=memory_bytes,
    )
    return Queued(id=name, request=request, submitted_s=0.0, limit_s=limit_s, **queued)


def decided(
    jobs: Sequence[Queued],
    *,
    how: str = "easy",
    nodes: tuple[NodeSpec, ...] = NODES,
    limits: bool = False,
    **site: Any,  # noqa: ANN401
) -> Scheduler:
    cluster = Cluster(nodes=nodes, **site)
    scheduler = Scheduler(cluster, policy(how), gate=Limiter(cluster) if limits else None)
    for one in jobs:
        scheduler.submit(one, 0.0)
    scheduler.decide(0.0)
    return scheduler


def clock(time_s: float) -> str:
    return f"{int(time_s) // 3600:02}:{int(time_s) % 3600 // 60:02}"


def words(scheduler: Scheduler, run_id: str, now_s: float = 0.0) -> list[str]:
    found = reasons(scheduler, run_id, now_s)
    first = dict(Reasons(scheduler, now_s).each())[run_id]
    assert sentence(first, clock).split(" (")[0] == sentence(found[0], clock).split(" (")[0]
    return [sentence(one, clock) for one in found]


def test_a_held_run_that_also_waits_for_others_says_so_in_that_order() -> None:
    after = (After(run_id="a-1", condition="ok", state=State.RUNNING),)
    scheduler = decided([job("b-2", held=True, after=after, begin_s=7200.0)])
    assert words(scheduler, "b-2") == [
        "held; it starts after release",
        "waits for a-1 to end",
        "not to begin before 02:00",
    ]


def test_a_dependency_that_cannot_be_met_any_more_comes_before_those_that_can() -> None:
    after = (
        After(run_id="a-1", condition="ok", state=State.PENDING),
        After(run_id="a-2", condition="ok", state=State.FAILED),
    )
    scheduler = decided([job("b-3", after=after)])
    assert words(scheduler, "b-3") == [
        "a-2 ended FAILED, and it was asked to run after ok: a-2",
        "waits for a-1 to end",
    ]


def test_a_throttled_element_of_an_array_names_the_throttle() -> None:
    elements = [job(f"a-1_{n}", array_id="a-1", array_throttle=2) for n in range(3)]
    assert words(decided(elements), "a-1_2") == ["its array runs 2 at a time"]


def test_a_limit_that_is_hit_comes_with_its_numbers_and_before_what_is_short() -> None:
    accounts = (
        Account(name="lab", limits=Limits(grp_tres=Tres(gpu=8.0))),
        Account(name="lab", user="ada"),
    )
    jobs = [job("a-1", 2, gpus=4, user="ada"), job("a-2", 4, gpus=1, user="ada")]
    assert words(decided(jobs, accounts=accounts, limits=True), "a-2") == [
        "account lab is at its GrpTRES gpu limit: 8 of 8 in use, this run needs 4",
        "waits for 4 GPUs (8 free, a-1 holds 8 until 01:00)",
    ]


@pytest.mark.parametrize(("maintenance", "what"), [(False, "reservation"), (True, "maintenance")])
def test_a_reservation_that_begins_before_the_limit_is_named_with_nodes_and_times(
    maintenance: bool, what: str
) -> None:
    course = Reservation(
        name="course",
        start_s=1800.0,
        end_s=7200.0,
        nodes=tuple(node.name for node in NODES),
        users=("bob",),
        maintenance=maintenance,
    )
    scheduler = decided([job("a-1"), job("b-2", limit_s=1800.0)], reservations=(course,))
    assert words(scheduler, "a-1") == [f"{what} course keeps n0, n1, n2, n3 from 00:30 until 02:00"]
    assert "b-2" in scheduler.active


def test_a_reservation_that_keeps_nothing_it_needs_is_no_reason() -> None:
    course = Reservation(name="course", start_s=0.0, end_s=7200.0, nodes=("n0",), users=("bob",))
    jobs = [job("a-1", 3), *(job(f"b-{n}", cpus=7) for n in range(3)), job("c-1", 3, cpus=2)]
    scheduler = decided(jobs, reservations=(course,))
    assert words(scheduler, "c-1")[0].startswith("waits for 6 CPUs (")


@pytest.mark.parametrize(
    ("user", "times", "said"),
    [
        ("bob", (1800.0, 7200.0), "its reservation course does not begin before 00:30"),
        ("ada", (1800.0, 7200.0), "its reservation course is for others"),
        ("bob", (-7200.0, -1800.0), "its reservation course is over"),
    ],
)
def test_a_run_in_a_reservation_says_why_it_is_closed(
    user: str, times: tuple[float, float], said: str
) -> None:
    course = Reservation(
        name="course", start_s=times[0], end_s=times[1], nodes=("n0",), users=("bob",)
    )
    scheduler = decided([job("a-1", user=user, reservation="course")], reservations=(course,))
    assert words(scheduler, "a-1")[0] == said


def test_a_run_in_a_reservation_that_is_gone_says_so() -> None:
    assert words(decided([job("a-1", reservation="class")]), "a-1")[0] == (
        "there is no reservation class"
    )


def test_nodes_that_are_down_are_named() -> None:
    scheduler = decided([])
    scheduler.calendar.down = 0b0011
    scheduler.submit(job("a-1", 3), 0.0)
    scheduler.decide(0.0)
    assert words(scheduler, "a-1") == ["n0, n1 are down"]


@pytest.mark.parametrize(
    ("asks", "said"),
    [
        (
            {"gpus": 8},
            "no node has 8 GPUs (at most 4); it may use 32 CPUs, 16 GPUs and 0.0 GiB memory on "
            "4 nodes; 0 of the 1 fit even when all is empty",
        ),
        (
            {"gpus": 1, "gpu_type": "A100"},
            "no node has 1 A100 GPUs (at most 0); it may use 32 CPUs, 0 A100 GPUs and 0.0 GiB "
            "memory on 4 nodes; 0 of the 1 fit even when all is empty",
        ),
        (
            {"memory_bytes": 1 << 30},
            "no node has 1G memory (at most 0.0 GiB); it may use 32 CPUs, 16 GPUs and 0.0 GiB "
            "memory on 4 nodes; 0 of the 1 fit even when all is empty",
        ),
        (
            {"nodes": 5},
            "it may use 32 CPUs, 16 GPUs and 0.0 GiB memory on 4 nodes; "
            "4 of the 5 fit even when all is empty",
        ),
    ],
)
def test_a_run_that_no_node_can_hold_says_which_dimension_is_too_large(
    asks: dict[str, Any], said: str
) -> None:
    assert words(decided([job("a-1", **asks)]), "a-1") == [said]


def test_a_partition_and_a_constraint_without_any_node_are_named() -> None:
    partitions = (Partition(name="big", nodes=("gone",)),)
    jobs = [job("a-1", partitions=("big",)), job("a-2", constraint="ib")]
    scheduler = decided(jobs, partitions=partitions)
    assert words(scheduler, "a-1") == ["no node of partition big exists"]
    assert words(scheduler, "a-2") == ["no node has ib"]


def test_what_is_short_comes_with_numbers_and_with_who_holds_it_until_when() -> None:
    jobs = [
        job("a-1", 2, gpus=3, limit_s=7200.0),
        job("a-2", gpus=4, limit_s=1800.0),
        job("a-3", gpus=4, limit_s=None),
        job("b-4", 2, gpus=4),
    ]
    assert words(decided(jobs), "b-4") == [
        "waits for 8 GPUs (2 free, a-2 holds 4 until 00:30, a-1 holds 6 until 02:00, "
        "a-3 holds 4 without time limit)"
    ]


def test_nodes_are_what_is_short_when_every_kind_alone_would_do() -> None:
    nodes = (
        NodeSpec(name="n0", cpus=4, memory_bytes=8),
        NodeSpec(name="n1", cpus=4, memory_bytes=8),
    )
    jobs = [
        job("a-1", cpus=4),
        job("a-2", cpus=1, memory_bytes=8),
        job("b-3", cpus=2, memory_bytes=2),
    ]
    scheduler = decided(jobs, nodes=nodes)
    assert words(scheduler, "b-3") == [
        "waits for 1 node with 2 CPUs, 2B memory (0 of them fit now, "
        "a-1 holds 1 until 01:00, a-2 holds 1 until 01:00)"
    ]


def test_a_run_whose_nodes_are_kept_for_one_ahead_names_it_and_counts() -> None:
    jobs = [
        job("a-1", 3, gpus=4),
        job("b-2", 4, gpus=4),
        job("c-3", 4),
        job("d-4", gpus=4, limit_s=7200.0),
    ]
    scheduler = decided(jobs, how="fifo")
    assert words(scheduler, "b-2")[0].startswith("waits for 16 GPUs (4 free")
    assert words(scheduler, "c-3") == ["waits behind b-2"]
    assert words(scheduler, "d-4") == ["waits behind b-2; 2 runs are before it"]


def test_runs_on_other_nodes_are_not_in_the_way() -> None:
    partitions = (
        Partition(name="left", nodes=("n0", "n1")),
        Partition(name="right", nodes=("n2", "n3")),
    )
    jobs = [
        job("a-1", 2, cpus=8, partitions=("left",)),
        job("a-2", 2, cpus=8, partitions=("right",)),
        job("b-3", 1, partitions=("left",)),
        job("b-4", 1, partitions=("right",)),
    ]
    scheduler = decided(jobs, how="fifo", partitions=partitions)
    assert words(scheduler, "b-4") == ["waits for 1 CPU (0 free, a-2 holds 16 until 01:00)"]


def test_a_run_for_which_others_are_being_stopped_names_them() -> None:
    qos = (Qos(name="normal", grace_s=60.0), Qos(name="urgent", priority=1, preempts=("normal",)))
    scheduler = decided([job("a-1", 4, gpus=4)], qos=qos)
    scheduler.submit(job("b-2", gpus=1, qos="urgent"), 10.0)
    assert [stop.run_id for stop in scheduler.decide(10.0).stops] == ["a-1"]
    assert words(scheduler, "b-2", 10.0)[0] == "a-1 saves and leaves to make room for it"


def test_a_run_that_fits_and_was_not_yet_looked_at_starts_soon() -> None:
    scheduler = decided([])
    scheduler.submit(job("a-1"), 0.0)
    assert words(scheduler, "a-1") == ["fits, and starts soon"]


def test_a_run_that_runs_has_no_reason_to_wait() -> None:
    assert reasons(decided([job("a-1")]), "a-1", 0.0) == ()
