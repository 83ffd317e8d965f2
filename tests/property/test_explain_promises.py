"""What ``explain`` promises comes true when nothing changes; asking changes nothing."""

import random
from math import inf

import pytest

from headrace.core.records import replace
from headrace.core.states import State
from headrace.schedule.change import changed
from headrace.schedule.cluster import (
    Account,
    Cluster,
    NodeSpec,
    Partition,
    Qos,
    Reservation,
    Weights,
)
from headrace.schedule.explain import Explanation, Sooner, explain
from headrace.schedule.forecast import Forecast, Unlimited, forecast
from headrace.schedule.policies import policy
from headrace.schedule.queue import After, Queued
from headrace.schedule.request import Request
from headrace.schedule.scheduler import Scheduler
from headrace.schedule.state import Decided, Policy
from headrace.simulate.replay import Books, Costs, Replayer
from headrace.simulate.trace import Trace, TraceJob

QUEUES, CHANGED_QUEUES = 1000, 300
MINUTE_S = 60.0
ASKS, ASKED_S = 3, 7.0
ASKED = ("fifo", "sjf", "easy", "conservative", "easy-fairshare")
USERS = {"ada": "lab", "bob": "lab", "cleo": "chair"}
ACCOUNTS = (
    Account(name="lab", shares=2),
    Account(name="chair"),
    *(Account(name=account, user=user) for user, account in USERS.items()),
)


class Asking(Scheduler):
    """Asks for the starts of all that wait, a few times once the last run has come."""

    def __init__(self, cluster: Cluster, how: Policy, from_s: float) -> None:
        super().__init__(cluster, how)
        self.from_s = from_s
        self.promises: list[tuple[float, dict[str, Forecast]]] = []
        self.begun_before: set[str] = set()

    def decide(self, now_s: float) -> Decided:
        decided = super().decide(now_s)
        changed = decided.starts or not self.promises
        if now_s >= self.from_s and changed and len(self.promises) < ASKS:
            found = forecast(_plain(self), now_s)
            waits = {
                run_id: one for run_id, one in found.items() if run_id not in self.begun_before
            }
            self.promises.append((now_s, waits))
        self.begun_before |= {job.id for job, _ in decided.starts}
        return decided


def made_queue(seed: int) -> Trace:
    """A cluster and runs that all come within an hour and last as long as their limits."""
    draw = random.Random(seed)
    types = draw.choice([("a100",), ("a100", "h100"), ()])
    specs = []
    for number in range(draw.randint(1, 6)):
        gpus = ((draw.choice(types), draw.choice([2, 4])),) if types else ()
        cpus = draw.choice([4, 8, 16])
        features = tuple(one for one in ("fast", "big") if draw.random() < 0.5)
        specs.append(NodeSpec(name=f"n{number}", cpus=cpus, gpus=gpus, features=features))
    names = [one.name for one in specs]
    cluster = Cluster(
        nodes=tuple(specs),
        partitions=_partitions(draw, names),
        qos=(
            Qos(name="normal"),
            Qos(name="urgent", priority=1, preempts=("normal",) if draw.random() < 0.3 else ()),
        ),
        reservations=_reservations(draw, names),
        accounts=ACCOUNTS,
        weights=Weights(fairshare=1000, age=500, job_size=200, max_age_s=7200.0),
    )
    probe = Scheduler(cluster, policy("fifo"))
    jobs = []
    for number in range(draw.randint(2, 20)):
        one = _job(draw, number, cluster)
        while not fits(probe, one.job) and draw.random() < 0.98:
            one = _job(draw, number, cluster)
        jobs.append(one)
    return Trace(name=f"queue {seed}", jobs=tuple(jobs), cluster=cluster)


def fits(probe: Scheduler, job: Queued) -> bool:
    demand = probe.demand(job)
    return probe.empty.room(demand.shape, demand.allowed) >= job.request.nodes_min


def _partitions(draw: random.Random, names: list[str]) -> tuple[Partition, ...]:
    if draw.random() < 0.6:
        return ()
    some = tuple(draw.sample(names, draw.randint(1, len(names))))
    return (Partition(name="all", default=True), Partition(name="some", nodes=some))


def _reservations(draw: random.Random, names: list[str]) -> tuple[Reservation, ...]:
    if draw.random() < 0.6:
        return ()
    start_s = draw.randint(0, 180) * MINUTE_S
    return (
        Reservation(
            name="course",
            start_s=start_s,
            end_s=start_s + draw.randint(1, 120) * MINUTE_S,
            nodes=tuple(draw.sample(names, draw.randint(1, len(names)))),
            users=draw.choice([(), ("ada",)]),
            maintenance=draw.random() < 0.3,
        ),
    )


def _job(draw: random.Random, number: int, cluster: Cluster) -> TraceJob:
    limit_s = draw.choice([1, 5, 7, 30, 60, 90, 240]) * MINUTE_S
    submitted_s = draw.randint(0, 60) * MINUTE_S
    nodes = draw.choice([1, 1, 1, 2, 3])
    gpus = draw.choice([0, 0, 1, 2, 4]) if cluster.nodes[0].gpus else 0
    ended_by = tuple(
        After(run_id=f"r{draw.randrange(number)}", condition="any", state=State.PENDING)
        for _ in range(number and draw.random() < 0.15)
    )
    user = draw.choice(sorted(USERS))
    job = Queued(
        id=f"r{number}",
        request=Request(
            nodes_min=nodes,
            nodes_max=nodes,
            cpus_per_rank=draw.choice([1, 2, 4, 8]),
            gpus_per_node=gpus,
            gpu_type=draw.choice([None, "a100", "h100"]) if gpus else None,
        ),
        submitted_s=submitted_s,
        limit_s=limit_s,
        user=user,
        account=USERS[user],
        qos=draw.choice(["normal", "normal", "urgent"]),
        partitions=draw.choice([(), (), ("some",)]) if cluster.partitions else (),
        constraint=draw.choice([None, None, None, "fast", "fast|big"]),
        reservation="course" if cluster.reservations and draw.random() < 0.1 else None,
        priority=draw.choice([0, 0, 0, 5]),
        begin_s=draw.randint(0, 120) * MINUTE_S if draw.random() < 0.15 else None,
        after=ended_by,
        array_id="r0" if draw.random() < 0.2 else None,
        array_throttle=draw.choice([None, 2]),
    )
    return TraceJob(job=job, run_s=limit_s)


class Promising(Scheduler):
    """Asks about one run that waits, once, some seconds after a decision."""

    def __init__(self, cluster: Cluster, how: Policy, from_s: float, draw: random.Random) -> None:
        super().__init__(cluster, how)
        self.from_s = from_s
        self.draw = draw
        self.explained: Explanation | None = None
        self.begun_before: set[str] = set()

    def decide(self, now_s: float) -> Decided:
        decided = super().decide(now_s)
        quiet = not decided.stops and min(self.wake_s(now_s), _next_end_s(self)) > now_s + ASKED_S
        if self.explained is None and now_s >= self.from_s and quiet and self.waiting:
            names = {after.run_id for job in self.later.values() for after in job.after}
            names |= self.begun_before
            free = [one.job.id for one in self.waiting if one.job.id not in names]
            if free:
                self.explained = explain(_plain(self), self.draw.choice(free), now_s + ASKED_S)
        self.begun_before |= {job.id for job, _ in decided.starts}
        return decided


def _next_end_s(scheduler: Scheduler) -> float:
    return scheduler.ends[0].end_s if scheduler.ends else inf


def _plain(asking: Scheduler) -> Scheduler:
    """The same, but it asks nothing."""
    copy = asking.copy()
    copy.__class__ = Scheduler
    return copy


@pytest.mark.parametrize("name", ASKED)
def test_a_promised_start_holds_when_nothing_changes(name: str) -> None:
    promised = 0
    for seed in range(QUEUES):
        trace = made_queue(seed)
        asking = Asking(_cluster(trace), policy(name), _last_s(trace))
        starts = replayed(trace, asking)
        assert starts == replayed(trace, Scheduler(_cluster(trace), policy(name))), (
            f"asking changed queue {seed}"
        )
        for now_s, promises in asking.promises:
            for run_id, promise in promises.items():
                assert promise.start_s == starts[run_id], f"{run_id} of queue {seed} at {now_s}"
                assert (promise.start_s is None) == (promise.unknown is not None)
                assert not isinstance(promise.unknown, Unlimited)
                promised += promise.start_s is not None
    assert promised > 4 * QUEUES


@pytest.mark.parametrize("name", ASKED)
def test_a_suggested_change_starts_the_run_when_it_was_said_to(name: str) -> None:
    tried = 0
    for seed in range(CHANGED_QUEUES):
        trace = made_queue(seed)
        draw = random.Random(seed)
        asking = Promising(_cluster(trace), policy(name), _last_s(trace), draw)
        replayed(trace, asking)
        explained = asking.explained
        for sooner in () if explained is None else explained.sooner:
            assert explained is not None
            other = with_change(trace, explained, sooner)
            starts = replayed(other, Scheduler(_cluster(trace), policy(name)))
            said = f"{explained.run} of queue {seed} with {sooner.change}"
            assert starts["changed"] == sooner.start_s, said
            old_s = explained.forecast.start_s
            assert old_s is None or sooner.start_s < old_s
            tried += 1
    assert tried > CHANGED_QUEUES / 10


def replayed(trace: Trace, scheduler: Scheduler) -> dict[str, float | None]:
    """When each run starts."""
    books = Books.of(trace, allocations=False)
    Replayer(trace, scheduler, Costs(), books).run((), None)
    return {one.job.id: start for one, start in zip(trace.jobs, books.start_s, strict=True)}


def with_change(trace: Trace, explained: Explanation, sooner: Sooner) -> Trace:
    """The same, but the run is cancelled when asked about, and submitted anew as suggested."""
    jobs = []
    for one in trace.jobs:
        if one.job.id == explained.run:
            jobs.append(replace(one, cancelled_s=explained.now_s))
            again = changed(one.job, sooner.change, explained.now_s)
        else:
            jobs.append(one)
    again = replace(again, id="changed")
    assert again.limit_s is not None
    return replace(trace, jobs=(*jobs, TraceJob(job=again, run_s=again.limit_s)))


def _cluster(trace: Trace) -> Cluster:
    assert trace.cluster is not None
    return trace.cluster


def _last_s(trace: Trace) -> float:
    return max(one.job.submitted_s for one in trace.jobs)
