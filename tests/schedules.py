"""Queues played on a scheduler, with books kept apart from its own."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from hypothesis import strategies as st

from headrace.core.records import replace
from headrace.core.states import State
from headrace.schedule.cluster import Cluster, NodeSpec, Partition, Qos, Reservation
from headrace.schedule.pool import Grants, numbers, slices_of
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request
from headrace.schedule.scheduler import Scheduler
from headrace.schedule.state import Decided, Policy

GIB = 1 << 30
PATIENCE_S = 10_000.0  # after the last event; priorities may be worked out anew for ever


class Job(NamedTuple):
    """``run_s``: how long it takes at its full width."""

    queued: Queued
    run_s: float


@dataclass
class Stretch:
    """One hold of nodes. ``end_s`` None: it still runs."""

    job: Queued
    grants: Grants
    start_s: float
    end_s: float | None = None


@dataclass
class Played:
    """What a scheduler did with a queue. ``told``: each decision that was not empty."""

    cluster: Cluster
    stretches: list[Stretch] = field(default_factory=list)
    told: list[tuple[float, Decided]] = field(default_factory=list)
    done: set[str] = field(default_factory=set)

    def start_s(self, run_id: str) -> float | None:
        return next((one.start_s for one in self.stretches if one.job.id == run_id), None)

    def starts(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for one in self.stretches:
            found.setdefault(one.job.id, one.start_s)
        return found


Watch = Callable[[Scheduler, float, Decided], None]


class Player:
    """Runs end when their work is done or at their limit; a stop takes ``stopping_s``."""

    def __init__(self, scheduler: Scheduler, jobs: Iterable[Job], stopping_s: float = 0.0) -> None:
        self.scheduler = scheduler
        self.stopping_s = stopping_s
        self.played = Played(scheduler.cluster)
        self.jobs = {one.queued.id: one for one in jobs}
        self.left_s = {run: one.run_s for run, one in self.jobs.items()}
        self.used_s: defaultdict[str, float] = defaultdict(float)
        self.holds: dict[str, Stretch] = {}
        self.resize: dict[str, int | None] = {}
        self.events: list[tuple[float, int, str, int]] = []
        self.times: Counter[str] = Counter()  # stretches begun
        for one in self.jobs.values():
            heapq.heappush(self.events, (one.queued.submitted_s, 1, one.queued.id, 0))

    def play(self, watch: Watch | None = None) -> Played:
        wake_s, eventful_s, last_s, again = inf, 0.0, -inf, 0
        while True:
            now_s = min(self.events[0][0] if self.events else inf, wake_s)
            eventful_s = now_s if self.events else eventful_s
            if now_s > eventful_s + PATIENCE_S:
                return self.played
            last_s, again = now_s, again + 1 if now_s == last_s else 0
            assert again < 100, "decided again and again at one time"
            while self.events and self.events[0][0] <= now_s:
                _, kind, run, count = heapq.heappop(self.events)
                if kind == 1:
                    self.scheduler.submit(self.jobs[run].queued, now_s)
                elif run in self.holds and self.times[run] == count:
                    self.end(run, now_s)
            decided = self.scheduler.decide(now_s)
            if decided.starts or decided.stops:
                self.played.told.append((now_s, decided))
            for started in decided.starts:
                self.start(started.job, started.grants, now_s)
            for stop in decided.stops:
                self.resize[stop.run_id] = stop.slices
                at_s = now_s + min(stop.grace_s, self.stopping_s)
                entry = (at_s, 0, stop.run_id, self.times[stop.run_id])
                heapq.heappush(self.events, entry)
            if watch is not None:
                watch(self.scheduler, now_s, decided)
            wake_s = self.scheduler.wake_s(now_s)
            assert wake_s > now_s, "told to wake in the past"
            assert wake_s == inf or self.scheduler.waiting or self.scheduler.active

    def rate(self, stretch: Stretch) -> float:
        return slices_of(stretch.grants) / self.jobs[stretch.job.id].queued.request.nodes_max

    def start(self, job: Queued, grants: Grants, now_s: float) -> None:
        assert job.id not in self.holds
        stretch = self.holds[job.id] = Stretch(job, grants, now_s)
        self.played.stretches.append(stretch)
        self.times[job.id] += 1
        lasts_s = self.left_s[job.id] / self.rate(stretch)
        if job.limit_s is not None:
            lasts_s = min(lasts_s, job.limit_s)
        heapq.heappush(self.events, (now_s + lasts_s, 0, job.id, self.times[job.id]))

    def end(self, run: str, now_s: float) -> None:
        """It ends, or stops because it was told to."""
        stretch = self.holds.pop(run)
        stretch.end_s = now_s
        held_s = now_s - stretch.start_s
        limit_s = stretch.job.limit_s
        self.left_s[run] -= held_s * self.rate(stretch)
        over = self.left_s[run] <= 1e-6 or (limit_s is not None and held_s >= limit_s - 1e-6)
        if over or run not in self.resize:
            self.resize.pop(run, None)
            self.played.done.add(run)
            self.scheduler.end(run, now_s, State.COMPLETED)
            return
        self.scheduler.end(run, now_s, State.PREEMPTED)
        left_s = None if limit_s is None else limit_s - held_s
        again = replace(stretch.job, limit_s=left_s, resize_to=self.resize.pop(run))
        self.scheduler.submit(again, now_s)


def play(
    cluster: Cluster,
    policy: Policy,
    jobs: Iterable[Job],
    watch: Watch | None = None,
    *,
    stopping_s: float = 0.0,
) -> Played:
    return Player(Scheduler(cluster, policy), jobs, stopping_s).play(watch)


def check_nodes(played: Played) -> None:
    """No node gives more than it has at any time, and every gang is whole."""
    for one in played.stretches:
        check_gang(played.cluster, one)
    for moment in {one.start_s for one in played.stretches}:
        used: dict[int, list[int]] = {}
        for one in played.stretches:
            if one.start_s <= moment and (one.end_s is None or moment < one.end_s):
                for grant in one.grants:
                    for number in numbers(grant.nodes):
                        had = used.setdefault(number, [0] * len(grant.take))
                        used[number] = [a + b for a, b in zip(had, grant.take, strict=True)]
        for number, amounts in used.items():
            node = played.cluster.nodes[number]
            has = [node.cpus, node.memory_bytes, *(count for _, count in node.gpus)]
            assert all(a <= b for a, b in zip(amounts, has, strict=True)), (moment, node, amounts)


def check_gang(cluster: Cluster, one: Stretch) -> None:
    """From nodes_min to nodes_max slices, each with all it asks for, where it may be."""
    request, seen = one.job.request, 0
    assert request.nodes_min <= slices_of(one.grants) <= request.nodes_max
    for grant in one.grants:
        assert grant.nodes
        assert not grant.nodes & seen
        seen |= grant.nodes
        for number in numbers(grant.nodes):
            node = cluster.nodes[number]
            assert node.divisible or grant.slices == 1
            assert grant.take[0] == grant.slices * request.cpus_per_node
            assert grant.take[1] == grant.slices * (request.memory_bytes or 0)
            usable = [
                count if request.gpu_type in (None, kind) else 0
                for (kind, _), count in zip(node.gpus, grant.take[2:], strict=True)
            ]
            assert sum(usable) == sum(grant.take[2:]) == grant.slices * request.gpus_per_node
            for partition in one.job.partitions:
                names = next(p.nodes for p in cluster.partitions if p.name == partition)
                assert node.name in names


# --- drawn by Hypothesis ------------------------------------------------------------------------

NODE_KINDS = (
    NodeSpec(name="", cpus=4, memory_bytes=8 * GIB),
    NodeSpec(name="", cpus=8, memory_bytes=16 * GIB, gpus=(("a100", 2),)),
    NodeSpec(name="", cpus=8, memory_bytes=16 * GIB, gpus=(("a100", 1), ("h100", 3))),
    NodeSpec(name="", cpus=8, memory_bytes=32 * GIB, gpus=(("h100", 4),), divisible=True),
)


@st.composite
def clusters(draw: st.DrawFn, *, reserved: bool = False, qos: tuple[Qos, ...] = ()) -> Cluster:
    kinds = draw(st.lists(st.sampled_from(NODE_KINDS), min_size=1, max_size=6))
    switches = draw(st.booleans())
    nodes = tuple(
        replace(kind, name=f"n{number}", switch=f"core/leaf{number % 2}" if switches else "")
        for number, kind in enumerate(kinds)
    )
    names = [node.name for node in nodes]
    some = st.lists(st.sampled_from(names), min_size=1, unique=True).map(tuple)
    partitions: tuple[Partition, ...] = ()
    if draw(st.booleans()):
        partitions = tuple(Partition(name=name, nodes=draw(some)) for name in ("p", "q"))
    reservations = draw(st.lists(_reservations(some), max_size=2)) if reserved else []
    named = tuple(replace(one, name=f"r{i}") for i, one in enumerate(reservations))
    return Cluster(nodes=nodes, partitions=partitions, reservations=named, qos=qos)


@st.composite
def _reservations(draw: st.DrawFn, nodes: st.SearchStrategy[tuple[str, ...]]) -> Reservation:
    begin_s = draw(st.integers(0, 300))
    end_s = begin_s + draw(st.integers(1, 200))
    return Reservation(name="", start_s=begin_s, end_s=end_s, nodes=draw(nodes), users=("ada",))


@st.composite
def _requests(draw: st.DrawFn, cluster: Cluster, *, elastic: bool) -> Request:
    """Mostly such as some of the nodes can hold, so that runs wait for each other."""
    node = draw(st.sampled_from(cluster.nodes))
    kind = draw(st.sampled_from([None, *(kind for kind, _ in node.gpus)]))
    gpus = draw(st.integers(0, sum(count for name, count in node.gpus if kind in (None, name))))
    least = draw(st.integers(1, max(1, len(cluster.nodes) - 1)))
    return Request(
        nodes_min=least,
        nodes_max=least + (draw(st.integers(0, 3)) if elastic else 0),
        cpus_per_rank=draw(st.integers(1, node.cpus)),
        gpus_per_node=gpus,
        gpu_type=kind if gpus else None,
        memory_bytes=draw(st.sampled_from((None, GIB, 9 * GIB))),
    )


@st.composite
def jobs_for(
    draw: st.DrawFn, cluster: Cluster, *, elastic: bool = False, inside: bool = True
) -> list[Job]:
    """A queue for the cluster. ``inside``: some ask for a reservation."""
    names = [one.name for one in cluster.partitions]
    asked = [one.name for one in cluster.reservations] if inside else []
    found = []
    for number in range(draw(st.integers(3, 14))):
        limit_s = draw(st.sampled_from((5, 60, 100, 240)))
        job = Queued(
            id=f"j{number}",
            request=draw(_requests(cluster, elastic=elastic)),
            submitted_s=float(draw(st.sampled_from((0, 0, 10, 30, 70, 75, 200)))),
            limit_s=float(limit_s),
            user=draw(st.sampled_from(("ada", "bob"))),
            partitions=(draw(st.sampled_from(names)),) if names else (),
            qos=draw(st.sampled_from([one.name for one in cluster.qos] or ["normal"])),
            reservation=draw(st.sampled_from([None, *asked])),
        )
        found.append(Job(job, float(draw(st.integers(1, limit_s)))))
    return found
