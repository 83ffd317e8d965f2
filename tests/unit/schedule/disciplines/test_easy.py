"""EASY's memory of the head's reservation between walks."""

from headrace.schedule.cluster import Cluster, NodeSpec
from headrace.schedule.policies import policy
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request
from headrace.schedule.scheduler import Scheduler


def job(name: str, nodes: int, limit_s: float, *, priority: int = 0) -> Queued:
    request = Request(nodes_min=nodes, nodes_max=nodes)
    return Queued(id=name, request=request, submitted_s=0.0, limit_s=limit_s, priority=priority)


def test_a_run_that_overtakes_the_head_starts_once_and_moves_its_reservation() -> None:
    nodes = tuple(NodeSpec(name=f"n{number}", cpus=1) for number in range(4))
    scheduler = Scheduler(Cluster(nodes=nodes), policy("easy"))
    scheduler.submit(job("first", 2, 100.0), 0.0)
    scheduler.submit(job("head", 4, 100.0), 0.0)
    assert [start.job.id for start in scheduler.decide(0.0).starts] == ["first"]
    scheduler.submit(job("urgent", 1, 300.0, priority=1), 1.0)
    scheduler.submit(job("filler", 1, 250.0), 1.0)
    starts = [start.job.id for start in scheduler.decide(1.0).starts]
    assert starts == ["urgent", "filler"]
    assert scheduler.pool.room(scheduler.waiting[0].demand.shape, 0b1111) == 0
