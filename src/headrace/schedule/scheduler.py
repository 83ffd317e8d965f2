"""The state of a queue and a cluster, and one scheduling pass over it.

Used by the embedded engine for a live decision and by ``simulate`` for months of history: the same
code. A *discipline* (strict, EASY, conservative, ...) walks the queue; an *order* says who comes
first. Pure: the caller passes the time and carries the decisions out.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from copy import deepcopy
from math import inf
from operator import attrgetter

from headrace.core.states import State
from headrace.schedule import elastic, preempt
from headrace.schedule.calendar import Calendar
from headrace.schedule.choice import choose
from headrace.schedule.cluster import Cluster, Qos
from headrace.schedule.eligible import why_later
from headrace.schedule.pool import Grants, Pool, Shape, shape_of
from headrace.schedule.queue import Queued
from headrace.schedule.sites import Sites
from headrace.schedule.state import (
    Active,
    Decided,
    Demand,
    Gate,
    Key,
    Policy,
    Started,
    Stop,
    Waiting,
)

_FEW = 64  # runs that are cheaper to put in one by one than to sort all anew
_by_key = attrgetter("key")
_by_rank = attrgetter("rank")


class Scheduler:
    """``submit``, ``end`` and ``remove`` tell it what happened; ``decide`` says what follows.

    ``waiting`` is in queue order, ``active`` by id, ``ends`` by expected end. ``pool`` is what is
    free, ``empty`` what would be if nothing ran; ``stamp`` changes with what is free, ``epoch``
    when expected ends or usable nodes change. Since the last walk: ``released`` says that something
    was given back or the order changed, ``fresh`` are the runs that came, ``gone`` those that gave
    nodes back. ``oversize`` do not fit even when nothing runs, ``later`` are not yet eligible:
    neither is in anybody's way.
    """

    def __init__(self, cluster: Cluster, policy: Policy, *, gate: Gate | None = None) -> None:
        self.cluster = cluster
        self.policy = policy
        self.sites = Sites(cluster)
        self.calendar = Calendar(
            [(one, self.sites.named(one.nodes)) for one in cluster.reservations]
        )
        self.qos: dict[str, Qos] = {one.name: one for one in cluster.qos}
        self.pool = Pool.empty(cluster.nodes)
        self.empty = self.pool.copy()
        self.prefer = policy.prefer
        self.order = policy.order(cluster)
        self.discipline = policy.discipline()
        self.gate = gate
        self.waiting: list[Waiting] = []
        self.later: dict[str, Queued] = {}
        self.oversize: dict[str, Queued] = {}
        self.ended: dict[str, State] = {}
        self.active: dict[str, Active] = {}
        self.ends: list[Active] = []
        self.elements: Counter[str] = Counter()
        self.fresh: list[Waiting] = []
        self.gone: list[Active] = []
        self.begun: list[Started] = []
        self.stops: list[Stop] = []
        self.released = True
        self.stamp = self.epoch = 0
        self._preempting = policy.displaces and any(one.preempts for one in cluster.qos)
        self._demands: dict[tuple[Shape, int], Demand] = {}
        self._started: list[Waiting] = []
        self._elastic = 0
        self._count = 0
        self._recalculate_s = self._edge_s = -inf
        self._begin_s = self._plan_s = inf
        self._unlocked = False

    def copy(self) -> "Scheduler":
        """Another in the same state; whatever orders and disciplines remember is copied, too."""
        return deepcopy(self)

    # --- what happened ------------------------------------------------------------------------

    def submit(self, job: Queued, now_s: float) -> None:
        waiting = self._admit(job, now_s)
        if waiting is None:
            return
        waiting.key = self.key(waiting, now_s)
        if self.waiting and waiting.key < self.waiting[-1].key:
            insort(self.waiting, waiting, key=_by_key)
        else:
            self.waiting.append(waiting)
        self.fresh.append(waiting)

    def fill(self, jobs: Sequence[Queued], now_s: float) -> None:
        """``submit`` for many at once."""
        if len(jobs) < _FEW:
            for job in jobs:
                self.submit(job, now_s)
            return
        admitted = [waiting for job in jobs if (waiting := self._admit(job, now_s)) is not None]
        self.waiting += admitted
        self.fresh += admitted
        self._recalculate_s = now_s + (self.order.period_s or inf)
        self.reorder(now_s)

    def _admit(self, job: Queued, now_s: float) -> Waiting | None:
        """None for one that is kept from the queue: for now, or for good."""
        if (job.held or job.after or job.begin_s is not None) and (
            why_later(job, now_s, self.ended) is not None
        ):
            self.later[job.id] = job
            if job.begin_s is not None and job.begin_s > now_s:
                self._begin_s = min(self._begin_s, job.begin_s)
            return None
        waiting = Waiting(job, self.demand(job), max(now_s, job.submitted_s))
        if waiting.demand.capacity < waiting.least:
            self.oversize[job.id] = job
            return None
        if self.gate is not None:
            waiting.checked = self.gate.applies(job)
        if job.array_throttle is not None or job.reservation is not None:
            waiting.checked = True
        if self._preempting and job.qos in self.qos:
            waiting.preempts = bool(self.qos[job.qos].preempts)
        return waiting

    def end(self, run_id: str, now_s: float, state: State = State.COMPLETED) -> Active:
        """The run has given its nodes back. A state that is final releases who waits for it."""
        active = self.active.pop(run_id)
        del self.ends[bisect_left(self.ends, active.rank, key=_by_rank)]
        self.pool.give(active.grants)
        self.stamp += 1
        self.gone.append(active)
        self.released = True
        job = active.job
        if job.array_id is not None:
            self.elements[job.array_id] -= 1
        if job.request.nodes_max > job.request.nodes_min:
            self._elastic -= 1
        if self.gate is not None:
            self.gate.end(job, active.slices)
        self.order.ended(active, now_s, state)
        self._note(run_id, state)
        return active

    def remove(self, run_id: str, state: State | None = None) -> Queued:
        """The run waits no more; ``state``: what it ended as, if it did."""
        if state is not None:
            self._note(run_id, state)
        for aside in (self.later, self.oversize):
            if run_id in aside:
                return aside.pop(run_id)
        index = next(i for i, one in enumerate(self.waiting) if one.job.id == run_id)
        self.fresh = [one for one in self.fresh if one.job.id != run_id]
        self.released = True
        removed = self.waiting.pop(index)
        removed.removed = True
        return removed.job

    def _note(self, run_id: str, state: State) -> None:
        """For those that wait for it to end."""
        if self.later and state.is_final:
            self.ended[run_id] = state
            self._unlocked = True

    def discard(self, run_ids: Set[str]) -> None:
        """``remove`` for many at once; ids that do not wait are passed over."""
        for waiting in self.waiting:
            if waiting.job.id in run_ids:
                waiting.removed = True
                self.released = True
        self.waiting = [one for one in self.waiting if not one.removed]
        self.fresh = [one for one in self.fresh if not one.removed]
        for run_id in run_ids:
            self.later.pop(run_id, None)
            self.oversize.pop(run_id, None)

    def adopt(self, job: Queued, grants: Grants, started_s: float) -> Active:
        """The run holds these nodes since ``started_s``. Only before the first decision."""
        return self._hold(job, self.demand(job), grants, started_s)

    def _hold(self, job: Queued, demand: Demand, grants: Grants, started_s: float) -> Active:
        self._count += 1
        active = Active(job, demand, grants, started_s, self._count)
        self.active[job.id] = active
        insort(self.ends, active, key=_by_rank)
        self.pool.take(grants)
        self.stamp += 1
        if job.array_id is not None:
            self.elements[job.array_id] += 1
        if job.request.nodes_max > job.request.nodes_min:
            self._elastic += 1
        if self.gate is not None:
            self.gate.start(job, active.slices)
        self.order.started(active, started_s)
        return active

    # --- what follows -------------------------------------------------------------------------

    def decide(self, now_s: float) -> Decided:
        """One pass: what starts now, and holds its nodes from here on; what must stop."""
        self.begun, self.stops = [], []
        if self.later and (self._unlocked or now_s >= self._begin_s):
            self._promote(now_s)
        period_s = self.order.period_s
        if period_s is not None and now_s >= self._recalculate_s:
            self._recalculate_s = now_s + period_s
            self.reorder(now_s)
        if not self.calendar.is_empty and now_s >= self._edge_s:
            self._edge_s = self.calendar.next_edge_s(now_s)
            self.calendar.turn(now_s)
            self.edge()
        changed = self.released or bool(self.fresh) or now_s >= self.discipline.wake_s
        if changed:
            if len(self.fresh) > 1:
                self.fresh.sort(key=_by_key)
            self.discipline.walk(self, now_s)
            self.released = False
            self.gone.clear()
            self.fresh.clear()
        if not self._preempting and not self._elastic:
            self._plan_s = inf
        elif changed or now_s >= self._plan_s:
            self._plan_stops(now_s)
        return Decided(self.begun, self.stops)

    def _plan_stops(self, now_s: float) -> None:
        self._plan_s = inf
        if self._preempting:
            preempt.plan(self, now_s)
            self._plan_s = preempt.wake_s(self, now_s)
        if self._elastic and self.policy.elastic:
            elastic.plan(self, now_s)
            self._plan_s = min(self._plan_s, elastic.wake_s(self, now_s))

    def wake_s(self, now_s: float) -> float:
        """When to decide again even if nothing happens."""
        wake_s, plan_s = self.discipline.wake_s, self._plan_s
        if plan_s < wake_s:
            wake_s = plan_s
        if self.later:
            wake_s = min(wake_s, self._begin_s)
        if self.waiting and not self.calendar.is_empty:
            wake_s = min(wake_s, self.calendar.next_edge_s(now_s))
        if self.waiting and self.ends and self.order.period_s is not None:
            wake_s = min(wake_s, self._recalculate_s)  # in any order nothing starts if nothing runs
        return wake_s

    def reorder(self, now_s: float) -> None:
        self.order.recalculate(now_s)
        for waiting in self.waiting:
            waiting.key = self.key(waiting, now_s)
        self.waiting.sort(key=_by_key)
        self.released = True

    def edge(self) -> None:
        """A reservation begins or ends, or a node comes or goes."""
        self.released = True
        self.stamp += 1
        self.epoch += 1

    def _promote(self, now_s: float) -> None:
        """Into the queue with those that nothing keeps any more."""
        self._unlocked, self._begin_s = False, inf
        aside, self.later = self.later, {}
        for job in aside.values():
            self.submit(job, now_s)

    # --- for disciplines ----------------------------------------------------------------------

    def key(self, waiting: Waiting, now_s: float) -> Key:
        """A resized run takes its place again, then who may preempt, as in Slurm, then others."""
        ahead = 0 if waiting.job.resize_to is not None else 1 if waiting.preempts else 2
        return (ahead, *self.order.key(waiting, now_s))

    def demand(self, job: Queued) -> Demand:
        return self._demand(shape_of(job.request), self.sites.allowed(job))

    def _demand(self, shape: Shape, allowed: int) -> Demand:
        found = self._demands.get((shape, allowed))
        if found is None:
            capacity = self.empty.room(shape, allowed)
            found = self._demands[shape, allowed] = Demand(shape, allowed, capacity)
        return found

    def at(self, waiting: Waiting, start_s: float) -> Demand:
        """What it asks for if it starts then: less what is reserved for others by its limit."""
        if self.calendar.is_empty and waiting.job.reservation is None:
            return waiting.demand
        return self.within(waiting.job, waiting.demand, start_s, start_s + waiting.limit_s)

    def within(self, job: Queued, demand: Demand, start_s: float, end_s: float) -> Demand:
        """The demand less what is reserved for others from ``start_s`` to ``end_s``."""
        usable = self.calendar.usable(job, demand.allowed, start_s, end_s)
        return demand if usable == demand.allowed else self._demand(demand.shape, usable)

    def room(self, demand: Demand) -> int:
        """How many slices of the demand fit now."""
        if demand.stamp != self.stamp:
            demand.room = self.pool.room(demand.shape, demand.allowed)
            demand.stamp = self.stamp
        return demand.room

    def may_start(self, waiting: Waiting) -> bool:
        """No limit, array throttle or closed reservation is in its way.

        Only asked of ``checked`` ones.
        """
        job = waiting.job
        if job.reservation is not None and not self.calendar.is_open(job):
            return False
        limit = job.array_throttle
        if limit is not None and self.elements[job.array_id or job.id] >= limit:
            return False
        return self.gate is None or self.gate.blocked(job, waiting.least) is None

    def candidates(self) -> Iterator[Waiting]:
        """The queue, less those that a limit keeps from starting; asked when their turn comes."""
        for waiting in self.waiting:
            if not waiting.checked or self.may_start(waiting):
                yield waiting

    def fit(self, waiting: Waiting, demand: Demand, pool: Pool) -> Grants | None:
        most = waiting.most
        if most > waiting.least and waiting.checked:
            most = self.widest(waiting.job, waiting.least, most)
        return self.choose(pool, demand, waiting.least, most)

    def choose(self, pool: Pool, demand: Demand, least: int, most: int) -> Grants | None:
        return choose(
            pool,
            demand.shape,
            least,
            most,
            demand.allowed,
            prefer=self.prefer,
            leaves=self.sites.leaves,
        )

    def widest(self, job: Queued, least: int, most: int) -> int:
        """The most slices, up to ``most``, that its limits allow."""
        if self.gate is not None and self.gate.applies(job):
            while most > least and self.gate.blocked(job, most) is not None:
                most -= 1
        return most

    def start(self, waiting: Waiting, grants: Grants, now_s: float) -> Active:
        """Give it these nodes. The discipline takes it out of ``waiting``: see ``drop_started``."""
        waiting.started = True
        self._started.append(waiting)
        self.begun.append(Started(waiting.job, grants))
        return self._hold(waiting.job, waiting.demand, grants, now_s)

    def drop_started(self) -> None:
        if not self._started:
            return
        if 8 * len(self._started) > len(self.waiting):
            self.waiting = [one for one in self.waiting if not one.started]
        else:
            for one in self._started:
                del self.waiting[bisect_left(self.waiting, one.key, key=_by_key)]
        self._started = []

    def after_stops(self) -> Pool:
        """What will be free when all that were told to stop have, and the resized are back."""
        pool = self.pool.copy()
        stopping = [active for active in self.active.values() if active.stop is not None]
        for active in stopping:
            pool.give(active.grants)
        for active in stopping:
            if active.stop is not None and (slices := active.stop.slices) is not None:
                least = active.job.request.nodes_min
                pool.take(self.choose(pool, active.demand, least, slices) or ())
        return pool

    def stop(self, active: Active, stop: Stop, now_s: float) -> None:
        """Tell it to give its nodes back; it is expected to have, within its grace.

        One that is only resized comes back at once: it is expected to end as before.
        """
        self.stops.append(stop)
        active.stop = stop
        if stop.slices is None:
            self.expect_end(active, min(active.end_s, now_s + stop.grace_s))

    def expect_end(self, active: Active, end_s: float) -> None:
        """It is to have ended by then."""
        self.epoch += 1
        del self.ends[bisect_left(self.ends, active.rank, key=_by_rank)]
        active.end_s = end_s
        active.rank = (active.end_s, active.rank[1])
        insort(self.ends, active, key=_by_rank)
