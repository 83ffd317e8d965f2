"""A live decision: which runs start now, on which CPUs and GPUs, who must stop, why others wait.

The scheduler is built anew from the records each time, so there is no state to keep in step with
them: 10,000 queued and 2,000 running runs take a few tens of milliseconds. Pure: the caller carries
the decisions out.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from headrace.core.events import Placed
from headrace.core.records import replace
from headrace.schedule.capacity import Capacity
from headrace.schedule.cluster import Cluster, NodeSpec
from headrace.schedule.devices import Devices
from headrace.schedule.pool import Grant, Grants
from headrace.schedule.queue import Queued, Running
from headrace.schedule.reason import Hopeless, Reason
from headrace.schedule.reasons import Reasons
from headrace.schedule.scheduler import Scheduler
from headrace.schedule.state import Gate, Policy, Stop


class Start(NamedTuple):
    id: str
    placed: tuple[Placed, ...]


class Decisions(NamedTuple):
    """Every queued run is in exactly one of: starts, reasons. Hopeless ones never start.

    ``wake_s``: when to decide again even if nothing happens; infinity is never.
    """

    starts: tuple[Start, ...]
    stops: tuple[Stop, ...]
    reasons: dict[str, Reason]
    wake_s: float

    @property
    def hopeless(self) -> dict[str, Hopeless]:
        return {run: why for run, why in self.reasons.items() if isinstance(why, Hopeless)}


def decide(
    queue: Sequence[Queued],
    running: Sequence[Running],
    nodes: Sequence[Capacity],
    now_s: float,
    *,
    rules: Cluster,
    policy: Policy,
    gate: Gate | None = None,
) -> Decisions:
    """Decide for all of ``queue``, in any order, what starts on ``nodes`` at ``now_s``.

    ``rules``: everything of the site but its nodes.
    """
    scheduler = scheduler_of(queue, running, nodes, now_s, rules=rules, policy=policy, gate=gate)
    decided = scheduler.decide(now_s)
    starts = []
    if decided.starts:
        devices = Devices(nodes, (piece for run in running for piece in run.placed))
        for job, grants in decided.starts:
            starts.append(Start(job.id, devices.pin(job.request, grants)))
    reasons = dict(Reasons(scheduler, now_s).each())
    return Decisions(tuple(starts), tuple(decided.stops), reasons, scheduler.wake_s(now_s))


def scheduler_of(
    queue: Sequence[Queued],
    running: Sequence[Running],
    nodes: Sequence[Capacity],
    now_s: float,
    *,
    rules: Cluster,
    policy: Policy,
    gate: Gate | None = None,
) -> Scheduler:
    """The scheduler in this state, before it decides."""
    cluster = replace(rules, nodes=tuple(spec_of(node) for node in nodes))
    scheduler = Scheduler(cluster, policy, gate=gate)
    owners = {
        (node.address, cpu.id): (number, node)
        for number, node in enumerate(nodes)
        for cpu in node.cpus
    }
    for run in sorted(running, key=lambda run: run.started_s):
        grants = _grants_of(run.placed, owners, scheduler.cluster.nodes)
        active = scheduler.adopt(run.job, grants, run.started_s)
        if run.stopping:
            reason = "preempt" if run.resize_to is None else "resize"
            active.stop = Stop(run.job.id, reason, "", 0.0, run.resize_to)
    for job in sorted(queue, key=lambda job: (job.submitted_s, natural(job.id))):
        scheduler.submit(job, now_s)
    return scheduler


def natural(run_id: str) -> tuple[tuple[bool, int | str], ...]:
    """Sort key under which gpt-9 comes before gpt-10."""
    parts = re.split(r"(\d+)", run_id)
    return tuple((part.isdigit(), int(part) if part.isdigit() else part) for part in parts)


def spec_of(node: Capacity) -> NodeSpec:
    """The node without its device numbers. Its GPU types in the order of their numbers."""
    kinds: dict[str, int] = {}
    for gpu in node.gpus:
        kinds[gpu.kind] = kinds.get(gpu.kind, 0) + 1
    return NodeSpec(
        name=node.name,
        cpus=len(node.cpus),
        memory_bytes=node.memory_bytes,
        gpus=tuple(kinds.items()),
        features=node.features,
        switch=node.switch,
        divisible=node.divisible,
    )


def _grants_of(
    placed: Iterable[Placed],
    owners: dict[tuple[str, int], tuple[int, Capacity]],
    specs: Sequence[NodeSpec],
) -> Grants:
    """A run's place as grants, one a node. CPUs that are on no node any more are nobody's."""
    takes: dict[int, list[int]] = {}
    slices: dict[int, int] = {}
    for piece in placed:
        found = next(
            (owners[piece.address, cpu] for cpu in piece.cpus if (piece.address, cpu) in owners),
            None,
        )
        if found is None:
            continue
        number, node = found
        types = [kind for kind, _ in specs[number].gpus]
        take = takes.setdefault(number, [0, 0] + [0] * len(types))
        slices[number] = slices.get(number, 0) + 1
        own = {cpu.id for cpu in node.cpus}
        take[0] += sum(cpu in own for cpu in piece.cpus)
        take[1] += min(piece.memory_bytes or 0, node.memory_bytes)
        kinds = {gpu.id: gpu.kind for gpu in node.gpus}
        for gpu in piece.gpus:
            if gpu in kinds:
                take[2 + types.index(kinds[gpu])] += 1
    return tuple(Grant(1 << number, slices[number], tuple(take)) for number, take in takes.items())
