"""A trace replayed under a policy, on the scheduler that live runs are started by.

Events of one instant are taken together: first what ends, then what comes, then one decision. So
runs that end and come at the same time do not depend on their order in the trace.
"""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from headrace.core.errors import UsageError
from headrace.core.records import Record, replace
from headrace.core.states import State
from headrace.schedule.cluster import Cluster
from headrace.schedule.pool import Grants, nodes_of, numbers
from headrace.schedule.queue import Queued
from headrace.schedule.scheduler import Scheduler
from headrace.schedule.state import Decided, Gate, Policy
from headrace.simulate.trace import Trace

_TOLD_EVERY = 1024  # jobs between two calls of ``progress``
_PATIENCE_S = 30 * 86_400.0  # what has not started after so long an idleness never will


class Hold(NamedTuple):
    """Job number ``job`` held ``slices`` nodes."""

    job: int
    begin_s: float
    end_s: float
    slices: int


@dataclass(frozen=True)
class Replay:
    """What became of each job of ``trace``, in its order; seconds on the trace's own clock.

    ``start_s``: first start; None: never started (cancelled while it waited, or larger than the
    cluster). ``end_s``: last end. ``busy_s``: how long it held nodes, over all its stretches.
    ``slices``: nodes it held last. ``preempted``, ``failed``: how often it was displaced, or lost a
    node. ``lost_s``: of ``busy_s``, what had to be done again. ``cut``: the holds that ended before
    the job did, in order of their end. ``allocated``: node numbers as ``0-3 7``, only where asked
    for.
    """

    policy: str
    trace: Trace
    start_s: Sequence[float | None]
    end_s: Sequence[float | None]
    busy_s: Sequence[float]
    slices: Sequence[int]
    preempted: Sequence[int]
    failed: Sequence[int]
    lost_s: Sequence[float]
    cut: Sequence[Hold] = ()
    allocated: Sequence[str] | None = None


class NodeEvent(NamedTuple):
    """Node number ``node`` is seen down, ``blind_s`` after it died, or comes back ``up``."""

    at_s: float
    node: int
    up: bool
    blind_s: float = 0.0


class Costs(Record, frozen=True, kw_only=True):
    """What stopping costs a run. A displaced or resized run saves, one that loses a node does not.

    ``restart_s``: until it works again. ``checkpoint_s``: how often it saves: on average half of
    that is lost with a node; here the time since the last multiple of it.
    """

    restart_s: float = 0.0
    checkpoint_s: float = 3600.0


class NoCluster(UsageError):
    """Nobody says what the trace ran on."""

    code = "HR-SIM-001"

    def __init__(self, trace: str) -> None:
        super().__init__(
            f"{trace} does not say which machine it ran on",
            why="without nodes nothing can be placed",
            remedy="name one, as in --cluster 321x8gpu",
        )


@dataclass
class _Stretch:
    """A job's present hold of nodes.

    ``rate``: work done a second, against history's width. ``idle_s``: at its begin, until it works.
    """

    begin_s: float
    rate: float
    idle_s: float


@dataclass
class Books:
    """What is known of every job, by its number in the trace."""

    left_s: list[float]
    start_s: list[float | None]
    end_s: list[float | None]
    busy_s: list[float]
    lost_s: list[float]
    slices: list[int]
    preempted: list[int]
    failed: list[int]
    generation: list[int]
    allocated: list[str] | None
    cut: list[Hold] = field(default_factory=list)
    stretches: dict[int, _Stretch] = field(default_factory=dict)

    @classmethod
    def of(cls, trace: Trace, *, allocations: bool) -> "Books":
        count = len(trace.jobs)
        return cls(
            left_s=[one.run_s for one in trace.jobs],
            start_s=[None] * count,
            end_s=[None] * count,
            busy_s=[0.0] * count,
            lost_s=[0.0] * count,
            slices=[0] * count,
            preempted=[0] * count,
            failed=[0] * count,
            generation=[0] * count,
            allocated=[""] * count if allocations else None,
        )


class Replayer:
    """One replay under way. ``run`` it to its end."""

    def __init__(self, trace: Trace, scheduler: Scheduler, costs: Costs, books: Books) -> None:
        self.trace = trace
        self.scheduler = scheduler
        self.costs = costs
        self.books = books
        self.number = {one.job.id: number for number, one in enumerate(trace.jobs)}
        self.ends: list[tuple[float, int, int]] = []  # (time, job, generation)
        self.cancels: list[tuple[float, int]] = []
        self.unfinished = len(trace.jobs)

    def run(self, nodes: Sequence[NodeEvent], progress: Callable[[float], None] | None) -> None:
        jobs, ends, cancels = self.trace.jobs, self.ends, self.cancels
        scheduler, count = self.scheduler, len(self.trace.jobs)
        order = sorted(range(count), key=lambda number: jobs[number].job.submitted_s)
        position = event = 0
        wake_s = eventful_s = inf
        told = 0
        while self.unfinished:
            submit_s = jobs[order[position]].job.submitted_s if position < count else inf
            end_s = ends[0][0] if ends else inf
            now_s = submit_s if submit_s < end_s else end_s
            if wake_s < now_s:
                now_s = wake_s
            if cancels and cancels[0][0] < now_s:
                now_s = cancels[0][0]
            if event < len(nodes) and nodes[event].at_s < now_s and self._any_left(position):
                now_s = nodes[event].at_s
            if submit_s < inf or end_s < inf:
                eventful_s = now_s
            if now_s == inf or now_s > eventful_s + _PATIENCE_S:
                break  # what is left can never start
            while ends and ends[0][0] <= now_s:
                self._ended(heapq.heappop(ends), now_s)
            while cancels and cancels[0][0] <= now_s:
                self._cancelled(heapq.heappop(cancels)[1])
            while event < len(nodes) and nodes[event].at_s <= now_s:
                self._node(nodes[event], now_s)
                event += 1
            while submit_s <= now_s:
                self._submit(order[position], now_s)
                position += 1
                submit_s = jobs[order[position]].job.submitted_s if position < count else inf
            decided = scheduler.decide(now_s)
            if decided.starts or decided.stops:
                self._carry_out(decided, now_s)
            wake_s = scheduler.wake_s(now_s)
            if progress is not None and count - self.unfinished >= told:
                told = count - self.unfinished + _TOLD_EVERY
                progress((count - self.unfinished) / count)

    def _any_left(self, position: int) -> bool:
        """Node events matter while something runs, waits or comes."""
        return bool(self.ends) or position < len(self.trace.jobs) or bool(self.scheduler.waiting)

    def _submit(self, number: int, now_s: float) -> None:
        one = self.trace.jobs[number]
        if one.cancelled_s is not None:
            heapq.heappush(self.cancels, (max(one.cancelled_s, now_s), number))
        job = one.job
        if job.after:
            known = tuple(
                replace(after, state=self._state(self.number[after.run_id], now_s))
                if after.run_id in self.number
                else after
                for after in job.after
            )
            job = replace(job, after=known)
        self.scheduler.submit(job, now_s)

    def _state(self, number: int, now_s: float) -> State:
        """Whether and how the job has ended."""
        one, books = self.trace.jobs[number], self.books
        if books.end_s[number] is not None:
            return one.state
        cancelled = one.cancelled_s is not None and one.cancelled_s <= now_s
        return State.CANCELLED if cancelled and books.start_s[number] is None else State.PENDING

    def _cancelled(self, number: int) -> None:
        if self.books.start_s[number] is None:
            self.scheduler.remove(self.trace.jobs[number].job.id, State.CANCELLED)
            self.unfinished -= 1

    def _ended(self, entry: tuple[float, int, int], now_s: float) -> None:
        _, number, generation = entry
        books = self.books
        if books.generation[number] != generation:
            return
        one = self.trace.jobs[number]
        stretch = books.stretches.pop(number)
        books.busy_s[number] += now_s - stretch.begin_s
        books.end_s[number] = now_s
        self.scheduler.end(one.job.id, now_s, one.state)
        self.unfinished -= 1

    def _carry_out(self, decided: Decided, now_s: float) -> None:
        while decided.starts or decided.stops:
            for job, grants in decided.starts:
                self._start(job, grants, now_s)
            for stop in decided.stops:
                number = self.number[stop.run_id]
                self._stop(number, now_s)
                self.books.preempted[number] += stop.reason == "preempt"
                self._again(number, now_s, resize_to=stop.slices)
            if not decided.stops:
                return
            decided = self.scheduler.decide(now_s)

    def _start(self, job: Queued, grants: Grants, now_s: float) -> None:
        number, books = self.number[job.id], self.books
        slices = self.scheduler.active[job.id].slices
        width = job.request.nodes_max
        rate = 1.0 if slices == width else slices / width
        left_s, idle_s = books.left_s[number] / rate, 0.0
        if books.start_s[number] is None:
            books.start_s[number] = now_s
        else:
            idle_s = self.costs.restart_s
        books.slices[number] = slices
        if books.allocated is not None:
            books.allocated[number] = ranges(nodes_of(grants))
        books.stretches[number] = _Stretch(now_s, rate, idle_s)
        heapq.heappush(self.ends, (now_s + idle_s + left_s, number, books.generation[number]))

    def _stop(self, number: int, now_s: float, failure: NodeEvent | None = None) -> None:
        """Its nodes are given back before it is done; without a failure it saves before."""
        books = self.books
        stretch = books.stretches.pop(number)
        books.generation[number] += 1
        held_s = now_s - stretch.begin_s
        books.busy_s[number] += held_s
        books.cut.append(Hold(number, stretch.begin_s, now_s, books.slices[number]))
        worked_s = max(0.0, held_s - stretch.idle_s)
        lost_s = 0.0
        if failure is not None:
            blind_s = min(failure.blind_s, worked_s)
            lost_s = (worked_s - blind_s) % self.costs.checkpoint_s + blind_s
        books.lost_s[number] += lost_s
        done_s = (worked_s - lost_s) * stretch.rate
        books.left_s[number] = max(0.0, books.left_s[number] - done_s)
        self.scheduler.end(self.trace.jobs[number].job.id, now_s, State.PREEMPTED)

    def _again(self, number: int, now_s: float, *, resize_to: int | None = None) -> None:
        """Queue it again, with what is left of its time limit."""
        job = self.trace.jobs[number].job
        limit_s = job.limit_s
        if limit_s is not None:
            limit_s = max(1.0, limit_s - self.books.busy_s[number])
        again = replace(job, limit_s=limit_s, begin_s=None, after=(), resize_to=resize_to)
        self.scheduler.submit(again, now_s)

    def _node(self, event: NodeEvent, now_s: float) -> None:
        scheduler, bit = self.scheduler, 1 << event.node
        if event.up:
            scheduler.calendar.down &= ~bit
        else:
            scheduler.calendar.down |= bit
            for active in [one for one in scheduler.active.values() if nodes_of(one.grants) & bit]:
                number = self.number[active.job.id]
                self._stop(number, now_s, event)
                self.books.failed[number] += 1
                self._again(number, now_s)
        scheduler.edge()


def replay(
    trace: Trace,
    policy: Policy,
    *,
    cluster: Cluster | None = None,
    gate: Gate | None = None,
    failures: Iterable[NodeEvent] = (),
    costs: Costs | None = None,
    progress: Callable[[float], None] | None = None,
    allocations: bool = False,
) -> Replay:
    """Replay ``trace`` on ``cluster``, or on its own. Raise ``NoCluster`` where neither is.

    ``failures`` by time. ``progress`` is called with the share of jobs done, from 0 to 1.
    """
    where = cluster or trace.cluster
    if where is None:
        raise NoCluster(trace.name)
    books = Books.of(trace, allocations=allocations)
    replayer = Replayer(trace, Scheduler(where, policy, gate=gate), costs or Costs(), books)
    replayer.run(tuple(failures), progress)
    return Replay(
        policy=policy.name,
        trace=trace,
        start_s=books.start_s,
        end_s=books.end_s,
        busy_s=books.busy_s,
        slices=books.slices,
        preempted=books.preempted,
        failed=books.failed,
        lost_s=books.lost_s,
        cut=books.cut,
        allocated=books.allocated,
    )


def ranges(nodes: int) -> str:
    """``0-3 7`` for the set of nodes 0, 1, 2, 3 and 7: Batsim's interval sets."""
    found: list[list[int]] = []
    for number in numbers(nodes):
        if found and found[-1][1] + 1 == number:
            found[-1][1] = number
        else:
            found.append([number, number])
    return " ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in found)
