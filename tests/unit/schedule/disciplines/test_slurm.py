"""Slurm's two schedulers: the main loop at events, the backfill by the clock."""

from math import inf
from typing import Any

from headrace.core.records import replace
from headrace.schedule.cluster import Cluster, Limits, NodeSpec, Partition, Qos, Weights
from headrace.schedule.limits import Limiter
from headrace.schedule.policies import policy
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request
from headrace.schedule.scheduler import Scheduler
from headrace.schedule.slurm_scheduling import SlurmScheduling

NODES = tuple(NodeSpec(name=f"n{i}", cpus=4) for i in range(4))


def scheduler(weights: Weights | None = None, **settings: Any) -> Scheduler:  # noqa: ANN401
    partitions = (
        Partition(name="all", default=True),
        Partition(name="left", nodes=("n0", "n1")),
        Partition(name="right", nodes=("n2", "n3")),
    )
    cluster = Cluster(
        nodes=NODES,
        partitions=partitions,
        weights=weights or Weights(),
        scheduling=SlurmScheduling(**settings),
    )
    return Scheduler(cluster, policy("slurm"))


def job(name: str, nodes: int = 1, limit_s: float = 600.0, cpus: int = 4, **more: Any) -> Queued:  # noqa: ANN401
    request = Request(nodes_min=nodes, nodes_max=nodes, cpus_per_rank=cpus)
    return Queued(id=name, request=request, submitted_s=0.0, limit_s=limit_s, **more)


def started(one: Scheduler, now_s: float, *jobs: Queued) -> list[str]:
    for asked in jobs:
        one.submit(asked, now_s)
    return [begun.job.id for begun in one.decide(now_s).starts]


def test_at_an_event_the_first_of_a_partition_that_does_not_fit_closes_it() -> None:
    one = scheduler()
    jobs = (
        job("a", 1, partitions=("left",)),
        job("b", 2, partitions=("left",)),
        job("c", 1, partitions=("left",)),
        job("d", 1, partitions=("right",)),
    )
    assert started(one, 1.0, *jobs) == ["a", "d"]


def test_backfill_comes_by_the_clock_and_not_at_the_event() -> None:
    one = scheduler()
    assert started(one, 1.0, job("a", 3), job("wide", 4), job("short", 1, 60.0)) == ["a"]
    assert one.wake_s(1.0) == 30.0
    assert started(one, 30.0) == ["short"]


def test_backfill_delays_nobody_it_has_looked_at_before() -> None:
    """EASY would start c: the head, b, leaves it a node. But d is promised that node."""
    one = scheduler()
    first = (job("a", 3, 600.0), job("b", 3, 600.0), job("d", 4, 600.0))
    assert started(one, 0.0, *first, job("c", 1, 2000.0)) == ["a"]
    assert started(one, 30.0, job("e", 1, 1100.0)) == ["e"]


def test_a_clock_that_could_change_nothing_does_not_tick() -> None:
    one = scheduler()
    started(one, 1.0, job("a", 4), job("b", 4))
    assert started(one, 30.0) == []
    assert one.wake_s(30.0) == 60.0
    assert started(one, 60.0) == []
    assert one.wake_s(60.0) == 301.0  # priorities are worked out anew
    one.end("a", 100.0)
    assert started(one, 100.0) == ["b"]
    assert one.wake_s(100.0) == inf


def test_a_run_beyond_the_depth_waits_for_the_full_round() -> None:
    one = scheduler(default_queue_depth=1, backfill=False)
    assert started(one, 1.0, job("a"), job("b"), job("c")) == ["a"]
    assert one.wake_s(1.0) == 60.0
    assert started(one, 60.0) == ["b", "c"]


def test_part_of_a_node_is_reserved_as_a_whole_node() -> None:
    """The head needs one CPU of n0 at 600 s; the other CPUs of it are kept, too."""
    nodes = (NodeSpec(name="n0", cpus=4),)
    one = Scheduler(Cluster(nodes=nodes, scheduling=SlurmScheduling()), policy("slurm"))
    assert started(one, 0.0, job("a", cpus=3), job("b", cpus=2, limit_s=600.0)) == ["a"]
    assert started(one, 30.0, job("long", cpus=1, limit_s=700.0)) == []
    easy = Scheduler(Cluster(nodes=nodes), policy("easy"))
    for asked in (job("a", cpus=3), job("b", cpus=2), job("long", cpus=1, limit_s=700.0)):
        easy.submit(asked, 0.0)
    assert [begun.job.id for begun in easy.decide(0.0).starts] == ["a", "long"]


def test_a_start_beyond_the_window_is_not_reserved() -> None:
    jobs = (job("a", 3, 7200.0), job("wide", 4), job("long", 1, 10_000.0))
    near, far = scheduler(bf_window_s=3600.0), scheduler()
    assert started(near, 0.0, *jobs) == ["a", "long"]
    assert started(far, 0.0, *jobs) == ["a"]


def test_backfill_looks_at_so_many_runs_and_so_many_of_a_user() -> None:
    jobs = (job("a", 3, user="ada"), job("w", 4, user="ada"), job("s", 1, 60.0, user="ada"))
    last = job("t", 1, 60.0, user="bob")
    assert started(scheduler(bf_max_job_test=1), 0.0, *jobs, last) == ["a"]
    assert started(scheduler(bf_max_job_user=1), 0.0, *jobs, last) == ["a", "t"]


def test_low_priorities_reserve_nothing_where_that_is_set() -> None:
    jobs = (job("a", 3, 600.0), job("wide", 4), job("long", 1, 10_000.0))
    assert started(scheduler(bf_min_prio_reserve=1000), 0.0, *jobs) == ["a", "long"]


def test_no_weight_is_no_weight() -> None:
    one = scheduler()
    started(one, 0.0, job("a", 4, user="ada"))
    started(one, 10.0, job("b", 4, user="ada"), job("c", 4, user="bob"))
    one.decide(300.0)
    one.end("a", 400.0)
    assert started(one, 400.0) == ["b"]
    fair = scheduler(Weights(fairshare=1000))
    started(fair, 0.0, job("a", 4, user="ada"))
    started(fair, 10.0, job("b", 4, user="ada"), job("c", 4, user="bob"))
    fair.decide(300.0)
    fair.end("a", 400.0)
    assert started(fair, 400.0) == ["c"]


def test_a_limit_holds_within_one_round_of_backfill() -> None:
    """Two short runs of a user fit beside the head, but the user may run one at a time."""
    qos = Qos(name="normal", limits=Limits(max_jobs_pu=1))
    cluster = replace(scheduler().cluster, qos=(qos,))
    one = Scheduler(cluster, policy("slurm"), gate=Limiter(cluster))
    jobs = (job("a", 2, user="bob"), job("wide", 4, user="cy"))
    shorts = (job("s", 1, 60.0, user="ada"), job("t", 1, 60.0, user="ada"))
    assert started(one, 1.0, *jobs, *shorts) == ["a"]
    assert started(one, 30.0) == ["s"]
