"""The state of a queue and a cluster, and one scheduling pass over it.

Used by the embedded engine for a live decision and by ``simulate`` for months of history: the same
code. A *discipline* (strict, EASY, conservative, ...) walks the queue; an *order* says who comes
first. Pure: the caller passes the time and carries the starts out.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

from headrace.schedule.choice import Preference, choose
from headrace.schedule.cluster import Cluster
from headrace.schedule.pool import Grants, Pool, Shape, shape_of
from headrace.schedule.queue import Queued
from headrace.schedule.sites import Sites

Key = tuple[Any, ...]


class Demand:
    """A shape on a set of nodes: what many runs ask for alike. Rooms are as of their stamps."""

    __slots__ = ("allowed", "room", "shape", "spare", "spare_stamp", "stamp")

    def __init__(self, shape: Shape, allowed: int) -> None:
        self.shape = shape
        self.allowed = allowed
        self.room = self.spare = 0
        self.stamp = self.spare_stamp = -1


class Waiting:
    """A run that waits for nodes. ``key``: its place in the queue."""

    __slots__ = ("demand", "job", "key", "least", "limit_s", "most", "removed", "started")

    def __init__(self, job: Queued, demand: Demand) -> None:
        self.job = job
        self.demand = demand
        self.least = job.request.nodes_min
        self.most = job.request.nodes_max
        self.limit_s = inf if job.limit_s is None else job.limit_s
        self.key: Key = ()
        self.started = False
        self.removed = False


class Active:
    """A run that holds nodes. ``end_s``: when it must have ended, by its limit."""

    __slots__ = ("demand", "end_s", "grants", "job", "rank", "started_s")

    def __init__(
        self, job: Queued, demand: Demand, grants: Grants, started_s: float, rank: int
    ) -> None:
        self.job = job
        self.demand = demand
        self.grants = grants
        self.started_s = started_s
        self.end_s = inf if job.limit_s is None else started_s + job.limit_s
        self.rank = (self.end_s, rank)


class Started(NamedTuple):
    job: Queued
    grants: Grants


class Order(Protocol):
    """Who comes first. ``period_s``: how long keys stay true; None is forever."""

    period_s: float | None

    def recalculate(self, now_s: float) -> None: ...

    def key(self, job: Queued, now_s: float) -> Key: ...

    def started(self, active: Active, now_s: float) -> None: ...

    def ended(self, active: Active, now_s: float) -> None: ...


class Discipline(Protocol):
    """How the queue is walked."""

    def walk(self, scheduler: "Scheduler", now_s: float) -> None: ...


@dataclass(frozen=True)
class Policy:
    """``name`` is what users type. Orders and disciplines hold state: one of each a scheduler."""

    name: str
    order: Callable[[Cluster], Order]
    discipline: Callable[[], Discipline]
    prefer: Preference = "pack"


_by_key = attrgetter("key")
_by_rank = attrgetter("rank")


class Scheduler:
    """``submit``, ``end`` and ``remove`` tell it what happened; ``decide`` says what starts.

    ``waiting`` is in queue order, ``active`` by id, ``ends`` by expected end. ``stamp`` changes
    with what is free; ``released`` says that something was given back, or the order changed, since
    the last walk; ``fresh`` are the runs submitted since, ``gone`` those that gave nodes back.
    """

    def __init__(self, cluster: Cluster, policy: Policy) -> None:
        self.cluster = cluster
        self.sites = Sites(cluster)
        self.pool = Pool.empty(cluster.nodes)
        self.prefer = policy.prefer
        self.order = policy.order(cluster)
        self.discipline = policy.discipline()
        self.waiting: list[Waiting] = []
        self.active: dict[str, Active] = {}
        self.ends: list[Active] = []
        self.fresh: list[Waiting] = []
        self.gone: list[Active] = []
        self.released = True
        self.stamp = 0
        self._demands: dict[tuple[Shape, int], Demand] = {}
        self._begun: list[Started] = []
        self._count = 0
        self._recalculate_s = -inf

    # --- what happened ------------------------------------------------------------------------

    def submit(self, job: Queued, now_s: float) -> None:
        waiting = Waiting(job, self.demand(job))
        waiting.key = self.order.key(job, now_s)
        if self.waiting and waiting.key < self.waiting[-1].key:
            insort(self.waiting, waiting, key=_by_key)
        else:
            self.waiting.append(waiting)
        self.fresh.append(waiting)

    def end(self, run_id: str, now_s: float) -> Active:
        """The run has given its nodes back."""
        active = self.active.pop(run_id)
        del self.ends[bisect_left(self.ends, active.rank, key=_by_rank)]
        self.pool.give(active.grants)
        self.stamp += 1
        self.gone.append(active)
        self.released = True
        self.order.ended(active, now_s)
        return active

    def remove(self, run_id: str) -> Queued:
        """The run waits no more."""
        index = next(i for i, one in enumerate(self.waiting) if one.job.id == run_id)
        self.fresh = [one for one in self.fresh if one.job.id != run_id]
        self.released = True
        removed = self.waiting.pop(index)
        removed.removed = True
        return removed.job

    def adopt(self, job: Queued, grants: Grants, started_s: float) -> Active:
        """The run holds these nodes since ``started_s``."""
        self._count += 1
        active = Active(job, self.demand(job), grants, started_s, self._count)
        self.active[job.id] = active
        insort(self.ends, active, key=_by_rank)
        self.pool.take(grants)
        self.stamp += 1
        self.order.started(active, started_s)
        return active

    # --- what follows -------------------------------------------------------------------------

    def decide(self, now_s: float) -> Sequence[Started]:
        """One pass: what starts now. They hold their nodes from here on."""
        self._begun = []
        period_s = self.order.period_s
        if period_s is not None and now_s >= self._recalculate_s:
            self._recalculate_s = now_s + period_s
            self.reorder(now_s)
        if self.released or self.fresh:
            self.discipline.walk(self, now_s)
            self.released = False
            self.gone.clear()
        self.fresh.clear()
        return self._begun

    def reorder(self, now_s: float) -> None:
        self.order.recalculate(now_s)
        for waiting in self.waiting:
            waiting.key = self.order.key(waiting.job, now_s)
        self.waiting.sort(key=_by_key)
        self.released = True

    # --- for disciplines ----------------------------------------------------------------------

    def demand(self, job: Queued) -> Demand:
        shape, allowed = shape_of(job.request), self.sites.allowed(job)
        found = self._demands.get((shape, allowed))
        if found is None:
            found = self._demands[shape, allowed] = Demand(shape, allowed)
        return found

    def room(self, demand: Demand) -> int:
        """How many slices of the demand fit now."""
        if demand.stamp != self.stamp:
            demand.room = self.pool.room(demand.shape, demand.allowed)
            demand.stamp = self.stamp
        return demand.room

    def fit(self, waiting: Waiting, pool: Pool) -> Grants | None:
        demand = waiting.demand
        return choose(
            pool,
            demand.shape,
            waiting.least,
            waiting.most,
            demand.allowed,
            prefer=self.prefer,
            leaves=self.sites.leaves,
        )

    def start(self, waiting: Waiting, grants: Grants, now_s: float) -> Active:
        """Give it these nodes. The discipline takes it out of ``waiting``: see ``drop_started``."""
        waiting.started = True
        self._begun.append(Started(waiting.job, grants))
        return self.adopt(waiting.job, grants, now_s)

    def drop_started(self) -> None:
        self.waiting = [one for one in self.waiting if not one.started]
