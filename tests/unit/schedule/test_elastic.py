"""``headrace.schedule.elastic``: runs shrunk when others wait, grown when nobody does."""

import dataclasses

from headrace.core.records import replace
from headrace.schedule.cluster import Cluster, NodeSpec, Reservation
from headrace.schedule.policies import policy
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request
from headrace.schedule.scheduler import Scheduler
from headrace.schedule.state import Stop

NODES = tuple(NodeSpec(name=f"n{i}", cpus=1) for i in range(4))


def job(name: str, least: int, most: int, **more: object) -> Queued:
    request = Request(nodes_min=least, nodes_max=most)
    asked = Queued(id=name, request=request, submitted_s=0.0, limit_s=1000.0)
    return replace(asked, **more)


def scheduler(*reservations: Reservation, nodes: tuple[NodeSpec, ...] = NODES) -> Scheduler:
    return Scheduler(Cluster(nodes=nodes, reservations=reservations), policy("easy"))


def starts(one: Scheduler, now_s: float, *jobs: Queued) -> list[tuple[str, int]]:
    for asked in jobs:
        one.submit(asked, now_s)
    begun = one.decide(now_s).starts
    return [(started.job.id, one.active[started.job.id].slices) for started in begun]


def restart(one: Scheduler, stop: Stop, now_s: float) -> list[tuple[str, int]]:
    active = one.end(stop.run_id, now_s)
    return starts(one, now_s, replace(active.job, resize_to=stop.slices))


def test_an_elastic_run_starts_on_all_that_is_free_up_to_its_most() -> None:
    one = scheduler()
    assert starts(one, 0.0, job("a", 1, 3), job("b", 1, 3)) == [("a", 3), ("b", 1)]


def test_the_widest_gives_what_the_head_needs_and_the_head_starts() -> None:
    one = scheduler()
    starts(one, 0.0, job("a", 1, 3), job("b", 1, 3))
    assert starts(one, 100.0, job("c", 2, 2)) == []
    (stop,) = one.stops
    assert (stop.run_id, stop.reason, stop.by, stop.slices) == ("a", "resize", "c", 1)
    assert restart(one, stop, 110.0) == [("a", 1), ("c", 2)]


def test_nobody_is_shrunk_when_it_would_not_be_enough() -> None:
    one = scheduler()
    starts(one, 0.0, job("a", 2, 4))
    starts(one, 100.0, job("c", 3, 3))
    assert one.stops == []


def test_nobody_is_shrunk_who_cannot_help() -> None:
    gpus = tuple(NodeSpec(name=f"g{i}", cpus=1, gpus=(("h100", 1),)) for i in range(2))
    one = scheduler(nodes=(*NODES[:3], *gpus))
    on_gpus = Request(nodes_min=1, nodes_max=2, gpus_per_node=1)
    starts(one, 0.0, job("g", 1, 2, request=on_gpus), job("a", 1, 3))
    starts(one, 100.0, job("c", 1, 1, request=replace(on_gpus, nodes_max=1)))
    assert [stop.run_id for stop in one.stops] == ["g"]


def test_a_run_that_was_resized_rests_and_is_looked_at_again_then() -> None:
    one = scheduler()
    starts(one, 0.0, job("a", 1, 4))
    starts(one, 10.0, job("c", 1, 1))
    assert one.stops == []
    assert one.wake_s(10.0) == 60.0
    one.decide(60.0)
    assert [stop.slices for stop in one.stops] == [3]


def test_a_run_grows_back_when_nobody_waits() -> None:
    one = scheduler()
    starts(one, 0.0, job("c", 2, 2), job("a", 1, 4))
    one.end("c", 30.0)
    assert starts(one, 30.0) == []
    assert one.stops == []
    assert one.wake_s(30.0) == 60.0
    one.decide(60.0)
    (stop,) = one.stops
    assert stop.slices == 4
    assert restart(one, stop, 61.0) == [("a", 4)]
    assert one.wake_s(61.0) == 121.0


def test_a_run_grows_only_onto_nodes_that_it_may_keep() -> None:
    kept = Reservation(name="r", start_s=900.0, end_s=990.0, nodes=("n2", "n3"), users=("ada",))
    one = scheduler(kept)
    assert starts(one, 0.0, job("a", 1, 4)) == [("a", 2)]
    one.decide(60.0)
    assert one.stops == []


def test_a_policy_can_leave_widths_alone() -> None:
    rigid = dataclasses.replace(policy("easy"), elastic=False)
    one = Scheduler(Cluster(nodes=NODES), rigid)
    starts(one, 0.0, job("a", 1, 4))
    starts(one, 100.0, job("c", 1, 1))
    assert one.stops == []
