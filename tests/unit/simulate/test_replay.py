"""``headrace.simulate.replay``: traces on the scheduler that starts live runs."""

import csv
import io
import tarfile

import pytest
from tests.replays import cluster, job, trace
from tests.shared import shared

from headrace.core.records import replace
from headrace.core.states import State
from headrace.schedule.cluster import Cluster, NodeSpec, Qos
from headrace.schedule.limits import Limiter
from headrace.schedule.policies import policy
from headrace.schedule.queue import After
from headrace.schedule.request import Request
from headrace.simulate.read import read_site, read_trace
from headrace.simulate.readers import batsim
from headrace.simulate.replay import Costs, NoCluster, NodeEvent, Replay, ranges, replay
from headrace.simulate.trace import Trace, TraceJob

ONE = cluster(1)
TWO = cluster(2)


def after(run: str, condition: str) -> tuple[After, ...]:
    return (After(run_id=run, condition=condition, state=State.PENDING),)


def test_what_ends_at_a_time_makes_room_for_what_comes_then() -> None:
    made = trace(job("b", 10.0, 5.0), job("a", 0.0, 10.0))
    assert replay(made, policy("fifo"), cluster=ONE).start_s == [10.0, 0.0]


def test_a_trace_without_a_machine_is_refused() -> None:
    with pytest.raises(NoCluster, match="does not say which machine"):
        replay(trace(job("a", 0.0, 1.0)), policy("fifo"))


def test_what_the_cluster_can_never_hold_starts_never_and_holds_nobody_up() -> None:
    made = trace(job("wide", 0.0, 10.0, nodes=3), job("a", 0.0, 10.0))
    done = replay(made, policy("fifo"), cluster=TWO)
    assert done.start_s == [None, 0.0]
    assert done.end_s == [None, 10.0]


def test_a_job_cancelled_in_history_while_it_waited_is_cancelled_then() -> None:
    made = trace(
        job("a", 0.0, 100.0), job("b", 1.0, 0.0, cancelled_s=50.0), job("c", 2.0, 5.0, gpus=8)
    )
    assert replay(made, policy("fifo"), cluster=ONE).start_s == [0.0, None, None]


def test_a_job_whose_turn_came_before_its_cancellation_runs() -> None:
    made = trace(job("a", 0.0, 10.0), job("b", 1.0, 7.0, cancelled_s=50.0))
    assert replay(made, policy("fifo"), cluster=ONE).end_s == [10.0, 17.0]


def test_a_dependency_waits_for_the_end_in_the_replay() -> None:
    made = trace(
        job("a", 0.0, 10.0),
        job("b", 5.0, 1.0, after=after("a", "ok")),
        job("c", 20.0, 1.0, after=after("a", "ok")),
        job("d", 0.0, 1.0, after=after("a", "notok")),
    )
    assert replay(made, policy("fifo"), cluster=TWO).start_s == [0.0, 10.0, 20.0, None]


def test_a_dependency_on_a_cancelled_job_is_over_with_it() -> None:
    made = trace(
        job("a", 0.0, 100.0),
        job("b", 1.0, 1.0, cancelled_s=30.0),
        job("c", 2.0, 1.0, gpus=0, after=after("b", "any")),
    )
    assert replay(made, policy("fifo"), cluster=ONE).start_s == [0.0, None, 30.0]


def test_a_begin_time_is_kept_though_nothing_else_happens() -> None:
    made = trace(job("a", 0.0, 1.0, begin_s=500.0))
    assert replay(made, policy("fifo"), cluster=ONE).start_s == [500.0]


PREEMPTING = replace(
    ONE, qos=(Qos(name="urgent", preempts=("normal",)), Qos(name="normal", grace_s=60.0))
)


def test_a_displaced_job_does_the_rest_later_and_pays_for_the_restart() -> None:
    made = trace(job("a", 0.0, 100.0), job("u", 30.0, 10.0, qos="urgent"))
    done = replay(made, policy("easy"), cluster=PREEMPTING, costs=Costs(restart_s=5.0))
    assert done.start_s == [0.0, 30.0]
    assert done.end_s == [30.0 + 10.0 + 5.0 + 70.0, 40.0]
    assert done.busy_s == [105.0, 10.0]
    assert (done.preempted, done.failed, done.lost_s) == ([1, 0], [0, 0], [0.0, 0.0])
    assert [(hold.job, hold.begin_s, hold.end_s) for hold in done.cut] == [(0, 0.0, 30.0)]


def test_a_job_displaced_while_it_restarts_has_done_nothing_more() -> None:
    urgent = [job(f"u{at}", float(at), 10.0, qos="urgent") for at in (30, 43)]
    made = trace(job("a", 0.0, 100.0), *urgent)
    done = replay(made, policy("easy"), cluster=PREEMPTING, costs=Costs(restart_s=5.0))
    assert done.end_s[0] == 53.0 + 5.0 + 70.0
    assert done.busy_s[0] == 30.0 + 3.0 + 75.0


def test_a_job_that_loses_a_node_goes_back_to_its_last_checkpoint() -> None:
    failures = [NodeEvent(250.0, 0, up=False), NodeEvent(400.0, 0, up=True)]
    done = replay(
        trace(job("a", 0.0, 300.0)),
        policy("easy"),
        cluster=ONE,
        failures=failures,
        costs=Costs(checkpoint_s=100.0, restart_s=7.0),
    )
    assert done.end_s == [400.0 + 7.0 + 100.0]
    assert done.busy_s == [250.0 + 107.0]
    assert (done.failed, done.lost_s) == ([1], [50.0])


def test_nobody_is_placed_on_a_node_that_is_down_or_waits_behind_who_needs_it() -> None:
    made = trace(job("wide", 20.0, 10.0, nodes=2), job("a", 21.0, 500.0))
    failures = [NodeEvent(10.0, 0, up=False), NodeEvent(100.0, 0, up=True)]
    done = replay(made, policy("easy"), cluster=TWO, failures=failures, allocations=True)
    assert done.start_s == [521.0, 21.0]
    assert done.allocated == ["0-1", "1"]


def elastic(name: str, submitted_s: float, run_s: float, least: int, most: int) -> TraceJob:
    one = job(name, submitted_s, run_s, gpus=4, limit_s=10_000.0)
    request = Request(nodes_min=least, nodes_max=most, gpus_per_node=4)
    return replace(one, job=replace(one.job, request=request))


def test_an_elastic_job_takes_longer_on_fewer_nodes_and_does_the_same_work() -> None:
    made = trace(elastic("a", 0.0, 400.0, 1, 4), elastic("b", 100.0, 50.0, 2, 2))
    done = replay(made, policy("easy"), cluster=cluster(4))
    assert done.start_s == [0.0, 100.0]
    # 100 s on 4, 60 s on 2 (b is gone after 50, but a rests until 160), the rest on 4
    assert done.end_s == [160.0 + (1600.0 - 400.0 - 120.0) / 4, 150.0]
    assert node_seconds(done, 0) == pytest.approx(400.0 * 4)
    assert done.slices == [4, 2]


def node_seconds(done: Replay, number: int) -> float:
    cut = [one for one in done.cut if one.job == number]
    whole = sum((one.end_s - one.begin_s) * one.slices for one in cut)
    last_s = done.busy_s[number] - sum(one.end_s - one.begin_s for one in cut)
    return whole + last_s * done.slices[number]


def test_a_replay_ends_though_somebody_waits_for_ever() -> None:
    """A node never comes back; priorities are worked out anew every five minutes."""
    made = trace(job("a", 0.0, 10.0), job("wide", 20.0, 10.0, nodes=2))
    failures = [NodeEvent(15.0, 0, up=False)]
    done = replay(made, policy("easy-fairshare"), cluster=TWO, failures=failures)
    assert done.start_s == [0.0, None]


def test_progress_goes_from_little_to_all() -> None:
    told: list[float] = []
    made = trace(*(job(f"j{i}", float(i), 1.0) for i in range(3000)))
    replay(made, policy("fifo"), cluster=ONE, progress=told.append)
    assert told == sorted(told)
    assert told[-1] > 0.6


@pytest.mark.parametrize(
    ("nodes", "words"), [(0b1, "0"), (0b1011, "0-1 3"), (0b1110_0000, "5-7"), (0, "")]
)
def test_sets_of_nodes_are_written_as_batsim_does(nodes: int, words: str) -> None:
    assert ranges(nodes) == words


@pytest.mark.parametrize(("policy_name", "file"), [("easy", "easy"), ("conservative", "conserv")])
def test_every_job_starts_when_batsim_starts_it(policy_name: str, file: str) -> None:
    """Batsim's own schedules of 801 jobs on 32 machines; its placement is lowest-numbered."""
    with tarfile.open(shared("traces", "batsim_oracle", "medium_late.tar.xz")) as archive:
        texts = {
            name: text.read().decode()
            for name in archive.getnames()
            if (text := archive.extractfile(name)) is not None
        }
    workload = next(text for name, text in texts.items() if name.endswith(".json"))
    results = next(
        text for name, text in texts.items() if file in name and name.endswith("_jobs.csv")
    )
    rows = {row["job_id"]: row for row in csv.DictReader(io.StringIO(results))}
    made = as_it_ran(batsim.read(workload, name="medium_late"), rows)
    nodes = tuple(NodeSpec(name=str(i), cpus=1) for i in range(32))
    lowest = policy(policy_name).placing("lowest")
    done = replay(made, lowest, cluster=Cluster(nodes=nodes), allocations=True)
    assert len(rows) == len(made.jobs) == 801
    assert done.allocated is not None
    for one, start_s, allocated in zip(made.jobs, done.start_s, done.allocated, strict=True):
        row = rows[one.job.id]
        assert start_s == pytest.approx(float(row["starting_time"]), abs=1e-3)
        assert allocated == row["allocated_resources"] or policy_name == "conservative"


def as_it_ran(made: Trace, rows: dict[str, dict[str, str]]) -> Trace:
    """With Batsim's own run times, which are a hair off the profiles'."""
    jobs = tuple(replace(one, run_s=float(rows[one.job.id]["execution_time"])) for one in made.jobs)
    return replace(made, jobs=jobs)


def test_the_500_jobs_of_the_ub_simulator_run_under_their_own_slurm_conf() -> None:
    folder = ("traces", "slurm_ubccr")
    conf, rules = (shared(*folder, name) for name in ("micro_slurm.conf", "micro_sacctmgr.script"))
    site = read_site(conf, accounts=rules)
    made = read_trace(shared(*folder, "micro_jobs500.events"), site=site)
    done = replay(made, policy("slurm"), gate=Limiter(site.cluster))
    again = replay(made, policy("slurm"), gate=Limiter(site.cluster))
    assert site.cluster.scheduling.bf_max_job_test == 1200
    assert len(made.jobs) == 500
    assert None not in done.start_s
    assert done.start_s == again.start_s
    waits = [
        start_s - one.job.submitted_s
        for one, start_s in zip(made.jobs, done.start_s, strict=True)
        if start_s is not None
    ]
    assert min(waits) >= 0.0
    assert sum(waits) / len(waits) == pytest.approx(10_921, rel=0.01)
