"""What a waiting run could ask for instead: chosen here, put to Slurm, and judged here. Pure.

``sbatch --test-only`` (22.05, tried; the same in the source of later releases) says when running
jobs make room, by their limits, and adds a guess for those that wait: their CPU time spread over
the partition, if they are in that partition and of no lower priority. So it counts the very run
that is asked about, never sees a hole that backfill would use, and does not see what waits for the
same nodes in another partition. ``start_of`` takes the guess off again, and asks instead whether
the change would be over before the first of those ahead is to start.
"""

import re
from collections.abc import Iterator, Sequence

from headrace.core.records import Record, fields, replace
from headrace.engines.slurm.everyone import Job, before, delay_s, nodes_of, order, rivals
from headrace.engines.slurm.facts import Facts
from headrace.engines.slurm.hostlist import expand
from headrace.engines.slurm.rows import parse_time_s
from headrace.schedule.change import ANY, Change, shorter_than
from headrace.schedule.explain import Sooner
from headrace.schedule.multifactor import Factors
from headrace.schedule.reason import LimitHit
from headrace.schedule.request import Request

PROBES_MAX = 5
_OTHERS = 2
_SPARE_S = 60.0
_NEAR_S = 90.0
_LEAST_PART = 6
_SAID = re.compile(r"to start at (\S+) using \d+ processors on nodes (\S+) in partition (\S+)")


class Answer(Record, frozen=True, kw_only=True):
    """Slurm's answer. ``start_s`` with its guess for those that wait."""

    start_s: float
    nodes: tuple[str, ...]
    partition: str


class Asked(Record, frozen=True, kw_only=True):
    """The run that waits. ``fit``: how many nodes of its partitions have room for it now.

    ``reserved_s``: when nodes that it may use are taken by a reservation.
    """

    job: Job
    request: Request
    fit: int
    factors: Factors | None
    reserved_s: float | None = None


def parse_test(text: str) -> Answer | None:
    """Since 22.05: "Job 7 to start at 2026-11-25T13:00:12 using 1 processors on nodes n3 in
    partition main"."""
    found = _SAID.search(text)
    start_s = None if found is None else parse_time_s(found[1])
    if found is None or start_s is None:
        return None
    return Answer(start_s=start_s, nodes=tuple(expand(found[2])), partition=found[3])


def candidates(
    asked: Asked, jobs: Sequence[Job], facts: Facts, limits: Sequence[LimitHit], now_s: float
) -> list[Change]:
    """Worth asking Slurm about, at most ``PROBES_MAX``. ``limits``: those that are in its way."""
    own, nodes = asked.job, asked.request.nodes_min
    if limits:
        fewer = _within(limits, nodes)
        return [Change(nodes=fewer)] if fewer else []
    found = [Change(partition=name) for name in _others(asked, jobs, facts)]
    hole_s = _hole_s(asked, jobs, facts, now_s)
    limit_s = None if hole_s is None else shorter_than(own.limit_s, hole_s)
    fewer = asked.fit if 0 < asked.fit < nodes else None
    if limit_s is not None and asked.fit >= nodes:
        found.append(Change(limit_s=limit_s))
    if fewer is not None:
        found.append(Change(nodes=fewer))
        if limit_s is not None:
            found.append(Change(nodes=fewer, limit_s=limit_s))
    elif nodes > 1 and not asked.fit:
        found.append(Change(nodes=1))
    if asked.request.gpu_type is not None:
        found.append(Change(gpu_type=ANY))
    found += _shorter_elsewhere(asked, facts)
    return found[:PROBES_MAX]


def _within(limits: Sequence[LimitHit], nodes: int) -> int | None:
    """The most nodes that all these limits let in; None where nodes are not what counts."""
    most = nodes
    for hit in limits:
        if not hit.resource or hit.limit.endswith(("Mins", "PerNode")) or not hit.needed:
            return None
        most = min(most, int((hit.allowed - hit.used) * nodes // hit.needed))
    return most if 0 < most < nodes else None


def _others(asked: Asked, jobs: Sequence[Job], facts: Facts) -> list[str]:
    """Other partitions that are up, large and long enough; those with most idle nodes first."""
    own = asked.job
    busy = {node for job in jobs if not job.waits for node in job.nodes}
    found = [
        one
        for one in facts.partitions
        if one.name not in own.partitions and one.state == "UP"
        if len(one.nodes) >= asked.request.nodes_min
        if one.max_nodes is None or one.max_nodes >= asked.request.nodes_min
        if one.max_time_s is None or 0 < (own.limit_s or 0.0) <= one.max_time_s
    ]
    found.sort(key=lambda one: -len(set(one.nodes) - busy))
    return [one.name for one in found[:_OTHERS]]


def _shorter_elsewhere(asked: Asked, facts: Facts) -> Iterator[Change]:
    """A partition that allows a good part of the time."""
    limit_s = asked.job.limit_s
    for one in facts.partitions:
        if one.name in asked.job.partitions or one.state != "UP" or one.max_time_s is None:
            continue
        if limit_s is not None and limit_s / _LEAST_PART <= one.max_time_s < limit_s:
            yield Change(partition=one.name, limit_s=one.max_time_s)


def _hole_s(asked: Asked, jobs: Sequence[Job], facts: Facts, now_s: float) -> float | None:
    """Until the first of those ahead, or a reservation, is to start; None where none is."""
    starts = [job.start_s for job in before(asked.job, jobs, facts)]
    ahead_s = min((one for one in (*starts, asked.reserved_s) if one is not None), default=None)
    return None if ahead_s is None else ahead_s - now_s - _SPARE_S


def start_of(
    tested: Answer, change: Change, asked: Asked, jobs: Sequence[Job], facts: Facts, now_s: float
) -> float:
    """The earliest start of what Slurm was asked about, submitted now in place of ``asked``."""
    own = asked.job
    others = [job for job in jobs if job is not own]
    new = replace(
        own,
        partitions=(tested.partition,),
        priority=_newcomer(asked, change),
        submitted_s=now_s,
        limit_s=own.limit_s if change.limit_s is None else change.limit_s,
    )
    room_s = _room_s(tested, new, jobs, facts, now_s)
    if room_s is None:
        return max(now_s, tested.start_s)
    here, end_s = set(tested.nodes), None if new.limit_s is None else room_s + new.limit_s
    near = [
        job
        for job in rivals(others, nodes_of([tested.partition], facts), facts)
        if order(job, facts) < order(new, facts)
        if not job.nodes or not here.isdisjoint(job.nodes)
    ]
    ahead = [job for job in near if order(job, facts) < order(own, facts)]
    hole_s = min((job.start_s for job in ahead if job.start_s is not None), default=None)
    others_fit = any(
        hole_s is None or (job.limit_s is not None and room_s + job.limit_s <= hole_s)
        for job in near
        if job not in ahead
    )
    fits = not ahead or (hole_s is not None and end_s is not None and end_s <= hole_s)
    if fits and not others_fit:
        return room_s
    return room_s + delay_s(others, tested.partition, new.priority, facts)


def _room_s(
    tested: Answer, new: Job, jobs: Sequence[Job], facts: Facts, now_s: float
) -> float | None:
    """When running jobs leave room: Slurm's answer without its guess, which goes by a priority
    that we know nearly. It is now, or the end of a job; None where nothing fits."""
    ends = [now_s, *(job.end_s for job in jobs if job.end_s is not None and not job.waits)]
    priorities = {job.priority for job in jobs if job.waits and job.priority > 0}
    for priority in sorted({new.priority, *priorities}, key=lambda one: abs(one - new.priority)):
        room_s = tested.start_s - delay_s(jobs, tested.partition, priority, facts)
        if any(abs(room_s - end_s) <= _NEAR_S for end_s in ends):
            return max(now_s, room_s)
    return None


def _newcomer(asked: Asked, change: Change) -> int:
    """The priority of a run like it that is submitted now: no age, its size as changed."""
    factors = asked.factors
    if factors is None:
        return asked.job.priority
    part = 1.0 if change.nodes is None else change.nodes / asked.request.nodes_min
    lost = factors.age.weighted + (1.0 - part) * factors.job_size.weighted
    return max(1, asked.job.priority - round(lost))


def without_needless(found: Sequence[Sooner]) -> tuple[Sooner, ...]:
    """Without those that change more than another does, to start no sooner."""
    asked = [set(fields_of(one.change)) for one in found]
    return tuple(
        one
        for one, changes in zip(found, asked, strict=True)
        if not any(
            less < changes and other.start_s <= one.start_s + _SPARE_S
            for other, less in zip(found, asked, strict=True)
        )
    )


def fields_of(change: Change) -> list[str]:
    """What it changes."""
    return [one.name for one in fields(Change) if getattr(change, one.name) is not None]


def options_of(change: Change, asked: Asked, options: Sequence[tuple[str, str]]) -> list[str]:
    """For ``sbatch --test-only``: the job file's own options, as Slurm has the run now, changed."""
    own, request = asked.job, asked.request
    limit_s = own.limit_s if change.limit_s is None else change.limit_s
    given = dict(options)
    given["partition"] = change.partition or ",".join(own.partitions)
    given |= {"account": own.account, "qos": own.qos}
    if limit_s is not None:
        given["time"] = str(max(1, round(limit_s / 60)))
    if change.nodes is not None:
        given["nodes"] = str(change.nodes)
    if change.gpu_type == ANY and request.gpus_per_node:
        given["gres"] = f"gpu:{request.gpus_per_node}"
    return [f"--{name}" + (f"={value}" if value else "") for name, value in given.items()]
