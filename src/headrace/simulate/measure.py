"""What a replay did to the jobs, their users and the machine, in figures.

Cancelled and failed jobs held nodes and made others wait, so they count like all others. Waits are
those from eligibility (submission, begin time, end of what the job was to run after) to the first
start, of jobs that started.

* slowdown: bounded, max(1, (end - eligible) / max(run time, 10 s)) (Feitelson, Rudolph 1998)
* completion: end - eligible (the literature's JCT)
* Jain: (sum x)^2 / (n * sum x^2) over the users' mean slowdowns; 1 is perfectly even
* share error: half the sum over accounts of |share used - share due| while some job waited
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from headrace.core.records import Record
from headrace.schedule.cluster import Account, Cluster
from headrace.simulate.jobs import (
    Floats,
    Holds,
    Integers,
    Jobs,
    Labels,
    Steps,
    eligible,
    in_system,
    never_started,
    seconds,
)
from headrace.simulate.replay import NodeEvent, Replay

TAU_S = 10.0
MIDDLE = (0.1, 0.9)  # of the makespan: what is left when ramp-up and the end are taken off
COURSE_POINTS = 400
_HOUR_S = 3600.0
_QUANTILES = np.concatenate([np.arange(0, 99), np.arange(990, 1001) / 10]) / 100


class Spread(Record, frozen=True, kw_only=True):
    """Of a quantity over jobs."""

    mean: float
    median: float
    p90: float
    p95: float
    p99: float
    max: float


class Group(Record, frozen=True, kw_only=True):
    """Jobs that have a size, a user, an account or a partition in common.

    ``hours``: those of the cluster's first resource. Seconds. The spreads are
    None when none of them started, or ended.
    """

    name: str
    jobs: int
    started: int
    hours: float
    wait_s: Spread | None
    slowdown: Spread | None
    completion_s: Spread | None


class Use(Record, frozen=True, kw_only=True):
    """Use of one resource, in its hours. ``available``: without nodes while they were down.

    allocated = useful + lost; lost: done again after a failure or a preemption, or spent on
    starting again. Shares: allocated of available, over the makespan and over the middle 80 % of
    it.
    """

    resource: str
    count: int
    available_h: float
    allocated_h: float
    useful_h: float
    lost_h: float
    share: float
    share_middle: float


class Share(Record, frozen=True, kw_only=True):
    """Of an account, while some job waited: what it held, and what its shares were due."""

    account: str
    used: float
    due: float


class Course(Record, frozen=True, kw_only=True):
    """Over equal steps of time from ``begin_s`` on: mean share in use, and mean queue length."""

    begin_s: float
    step_s: float
    used: tuple[float, ...]
    waiting: tuple[float, ...]


class Measures(Record, frozen=True, kw_only=True):
    """One policy on one trace. Seconds and hours.

    ``uses``: GPUs first where half of the nodes have some, else CPUs. ``wait_quantiles``: (share of
    jobs, seconds), ascending.
    """

    schema: int = 1
    policy: str
    trace: str
    nodes: int
    jobs: int
    started: int
    ended: int
    never_started: dict[str, int]
    preempted: int
    node_failures: int
    makespan_s: float
    wait_s: Spread | None
    slowdown: Spread | None
    completion_s: Spread | None
    uses: tuple[Use, ...]
    jain: float | None
    share_error: float | None
    shares: tuple[Share, ...]
    by_size: tuple[Group, ...]
    by_user: tuple[Group, ...]
    by_account: tuple[Group, ...]
    by_partition: tuple[Group, ...]
    course: Course
    wait_quantiles: tuple[tuple[float, float], ...]

    @property
    def use(self) -> Use:
        """Of what the cluster is bought for: GPUs, or CPUs where most nodes have none."""
        return self.uses[0]


@dataclass(frozen=True)
class Outcome:
    """A replay as arrays; NaN where it did not happen. ``weight``: GPUs (or CPUs) a node."""

    jobs: Jobs
    holds: Holds
    wait_s: Floats
    completion_s: Floats
    slowdown: Floats
    hours: Floats
    eligible_s: Floats
    weight: Integers


def outcome(replay: Replay, jobs: Jobs | None = None, *, resource: str = "CPU") -> Outcome:
    """``jobs``: of the trace, where they are at hand. ``resource``: whose hours count."""
    jobs = jobs or Jobs.of(replay.trace)
    holds = Holds.of(replay)
    eligible_s = eligible(replay, jobs)
    completion_s = seconds(replay.end_s) - eligible_s
    weight = jobs.gpus if resource == "GPU" else jobs.cpus
    return Outcome(
        jobs=jobs,
        holds=holds,
        wait_s=np.maximum(0.0, seconds(replay.start_s) - eligible_s),
        completion_s=completion_s,
        slowdown=np.maximum(1.0, completion_s / np.maximum(jobs.run_s, TAU_S)),
        hours=holds.node_s(len(jobs.run_s)) * weight / _HOUR_S,
        eligible_s=eligible_s,
        weight=weight,
    )


def measure(
    replay: Replay,
    *,
    cluster: Cluster,
    failures: Iterable[NodeEvent] = (),
    jobs: Jobs | None = None,
) -> Measures:
    """``failures``: those of the replay. ``jobs``: of the trace, where they are at hand."""
    jobs = jobs or Jobs.of(replay.trace)
    resources = _resources(cluster, jobs)
    found = outcome(replay, jobs, resource=resources[0])
    left, left_s = in_system(replay, found.eligible_s)
    begin_s = float(found.eligible_s.min(initial=np.inf)) if len(left) else 0.0
    end_s = max(float(left_s.max(initial=begin_s)), float(found.holds.end_s.max(initial=begin_s)))
    downs = tuple(failures)
    uses = tuple(
        _use(resource, replay, found, _counts(cluster, resource), downs, (begin_s, end_s))
        for resource in resources
    )
    waiting = _waiting(found, left, left_s)
    shares = _shares(cluster.accounts, found, waiting)
    by_user = _groups(found, jobs.user)
    return Measures(
        policy=replay.policy,
        trace=replay.trace.name,
        nodes=len(cluster.nodes),
        jobs=len(jobs.run_s),
        started=int(np.count_nonzero(~np.isnan(found.wait_s))),
        ended=int(np.count_nonzero(~np.isnan(found.completion_s))),
        never_started=never_started(replay),
        preempted=sum(replay.preempted),
        node_failures=sum(replay.failed),
        makespan_s=end_s - begin_s,
        wait_s=spread(found.wait_s),
        slowdown=spread(found.slowdown),
        completion_s=spread(found.completion_s),
        uses=uses,
        jain=jain([group.slowdown.mean for group in by_user if group.slowdown]),
        share_error=sum(abs(one.used - one.due) for one in shares) / 2 if shares else None,
        shares=shares,
        by_size=_groups(found, sizes(jobs)),
        by_user=by_user,
        by_account=_groups(found, jobs.account),
        by_partition=_groups(found, jobs.partition),
        course=_course(found, waiting, uses[0].count, (begin_s, end_s)),
        wait_quantiles=_quantiles(found.wait_s),
    )


def spread(values: Floats) -> Spread | None:
    """Of those that are not NaN; percentiles are interpolated linearly."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    median, p90, p95, p99 = np.percentile(known, [50, 90, 95, 99])
    return Spread(
        mean=float(known.mean()),
        median=float(median),
        p90=float(p90),
        p95=float(p95),
        p99=float(p99),
        max=float(known.max()),
    )


def jain(values: Sequence[float]) -> float | None:
    """Jain's index: 1 when all are equal, 1/n when one has all. None without values."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else None


def sizes(jobs: Jobs) -> Labels:
    """Classes of width: 1, 2, 3-4, 5-8 ... GPUs; jobs without GPUs by CPUs, before the others."""
    with_gpus = jobs.gpus > 0
    counts = jobs.nodes * np.where(with_gpus, jobs.gpus, jobs.cpus)
    exponents = np.ceil(np.log2(np.maximum(counts, 1))).astype(np.int64)
    known, of = np.unique(np.where(with_gpus, _GPU_CLASSES, 0) + exponents, return_inverse=True)
    return Labels(tuple(_size_name(int(one)) for one in known), of.astype(np.int64))


_GPU_CLASSES = 100  # above any exponent


def _size_name(code: int) -> str:
    unit, exponent = ("GPU", code - _GPU_CLASSES) if code >= _GPU_CLASSES else ("CPU", code)
    high, low = 2**exponent, 2 ** (exponent - 1) + 1
    if exponent < 2:
        return f"{high} {unit}{'s' if high > 1 else ''}"
    return f"{low}-{high} {unit}s"


def _groups(found: Outcome, labels: Labels) -> tuple[Group, ...]:
    """One a name, in the labels' order; none where no job has a name."""
    if not any(labels.names):
        return ()
    order = np.argsort(labels.of, kind="stable")
    bounds = np.searchsorted(labels.of[order], np.arange(len(labels.names) + 1))
    groups = []
    for code, name in enumerate(labels.names):
        members = order[bounds[code] : bounds[code + 1]]
        waits = found.wait_s[members]
        groups.append(
            Group(
                name=name or "(none)",
                jobs=len(members),
                started=int(np.count_nonzero(~np.isnan(waits))),
                hours=float(found.hours[members].sum()),
                wait_s=spread(waits),
                slowdown=spread(found.slowdown[members]),
                completion_s=spread(found.completion_s[members]),
            )
        )
    return tuple(groups)


def _resources(cluster: Cluster, jobs: Jobs) -> list[str]:
    """What the cluster is bought for comes first: GPUs where half of the nodes have some."""
    with_gpus = sum(bool(node.gpus) for node in cluster.nodes)
    if not with_gpus or not jobs.gpus.any():
        return ["CPU"]
    return ["GPU", "CPU"] if 2 * with_gpus >= len(cluster.nodes) else ["CPU", "GPU"]


def _counts(cluster: Cluster, resource: str) -> Integers:
    """How much of the resource each node has."""
    if resource == "GPU":
        counts = [sum(count for _, count in node.gpus) for node in cluster.nodes]
    else:
        counts = [node.cpus for node in cluster.nodes]
    return np.array(counts, np.int64)


def _use(
    resource: str,
    replay: Replay,
    found: Outcome,
    counts: Integers,
    downs: Sequence[NodeEvent],
    window: tuple[float, float],
) -> Use:
    jobs, holds = found.jobs, found.holds
    weight = jobs.gpus if resource == "GPU" else jobs.cpus
    node_s = holds.node_s(len(jobs.run_s))
    lost_s = np.array(replay.lost_s, np.float64)
    useful_s = np.where(np.isnan(found.completion_s), node_s - lost_s, jobs.run_s * jobs.nodes)
    useful_s = np.clip(useful_s, 0.0, node_s)
    allocated = float((node_s * weight).sum())
    useful = float((useful_s * weight).sum())
    total = int(counts.sum())
    used, down = _used(holds, weight), _down(downs, counts, window[1])
    begin_s, end_s = window
    edges = [begin_s + part * (end_s - begin_s) for part in MIDDLE]
    available = total * (end_s - begin_s) - down.area_between(begin_s, end_s)
    middle = total * (edges[1] - edges[0]) - down.area_between(*edges)
    return Use(
        resource=resource,
        count=total,
        available_h=available / _HOUR_S,
        allocated_h=allocated / _HOUR_S,
        useful_h=useful / _HOUR_S,
        lost_h=(allocated - useful) / _HOUR_S,
        share=allocated / available if available > 0 else 0.0,
        share_middle=used.area_between(*edges) / middle if middle > 0 else 0.0,
    )


def _used(holds: Holds, weight: Integers) -> Steps:
    amount = holds.slices * weight[holds.job]
    return Steps(np.concatenate([holds.begin_s, holds.end_s]), np.concatenate([amount, -amount]))


def _down(events: Sequence[NodeEvent], counts: Integers, end_s: float) -> Steps:
    at_s = np.array([event.at_s for event in events if event.at_s <= end_s], np.float64)
    change = [-counts[e.node] if e.up else counts[e.node] for e in events if e.at_s <= end_s]
    return Steps(at_s, np.array(change, np.int64))


def _waiting(found: Outcome, left: Integers, left_s: Floats) -> Steps:
    """How many jobs wait: in the system, but holding nothing."""
    came_s, holds = found.eligible_s[left], found.holds
    one, hold = np.ones(len(left), np.int64), np.ones(len(holds.job), np.int64)
    return Steps(
        np.concatenate([came_s, left_s, holds.begin_s, holds.end_s]),
        np.concatenate([one, -one, -hold, hold]),
    )


def _course(found: Outcome, waiting: Steps, total: int, window: tuple[float, float]) -> Course:
    begin_s, end_s = window
    edges = np.linspace(begin_s, end_s, COURSE_POINTS + 1)
    step_s = (end_s - begin_s) / COURSE_POINTS
    if step_s <= 0 or not total:
        return Course(begin_s=begin_s, step_s=0.0, used=(), waiting=())
    used = np.diff(_used(found.holds, found.weight).area(edges)) / (step_s * total)
    queue = np.diff(waiting.area(edges)) / step_s
    return Course(
        begin_s=begin_s,
        step_s=step_s,
        used=tuple(map(float, used.round(6))),
        waiting=tuple(map(float, queue.round(3))),
    )


def _quantiles(wait_s: Floats) -> tuple[tuple[float, float], ...]:
    known = wait_s[~np.isnan(wait_s)]
    if not len(known):
        return ()
    found = np.quantile(known, _QUANTILES)
    return tuple(zip(_QUANTILES.tolist(), found.tolist(), strict=True))


def _shares(accounts: Sequence[Account], found: Outcome, waiting: Steps) -> tuple[Share, ...]:
    due = due_shares(accounts)
    labels = found.jobs.account
    with_work = [code for code, name in enumerate(labels.names) if name in due]
    if not with_work:
        return ()
    contended, holds = waiting.positive(), found.holds
    held_s = contended.area(holds.end_s) - contended.area(holds.begin_s)
    amount = held_s * holds.slices * found.weight[holds.job]
    used = np.bincount(labels.of[holds.job], amount, len(labels.names))[with_work]
    target = np.array([due[labels.names[code]] for code in with_work])
    if not used.sum() or not target.sum():
        return ()
    return tuple(
        Share(account=labels.names[code], used=float(u), due=float(d))
        for code, u, d in zip(with_work, used / used.sum(), target / target.sum(), strict=True)
    )


def due_shares(accounts: Sequence[Account]) -> dict[str, float]:
    """Account -> its part of the cluster: its shares among its siblings, times its parent's part.

    An account with fairshare=parent has no part of its own.
    """
    known = {one.name: one for one in accounts if one.user is None}
    totals: dict[str | None, int] = {}
    for one in known.values():
        totals[one.parent] = totals.get(one.parent, 0) + (one.shares or 0)

    def part(name: str | None, depth: int = 0) -> float:
        if name is None or name not in known or depth > len(known):
            return 1.0
        one = known[name]
        total = totals[one.parent]
        return part(one.parent, depth + 1) * (one.shares or 0) / total if total else 0.0

    return {name: part(name) for name in known}
