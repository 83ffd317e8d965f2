"""A live decision: which runs start now, on which CPUs and GPUs, who must stop, why others wait.

The scheduler is built anew from the records each time, so there is no state to keep in step with
them: 10,000 queued and 2,000 running runs take a few tens of milliseconds. Pure: the caller carries
the decisions out.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from headrace.core.events import Placed
from headrace.core.records import replace
from headrace.schedule.cluster import Cluster
from headrace.schedule.devices import Devices
from headrace.schedule.machine import Machine
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
    machine: Machine,
    now_s: float,
    *,
    rules: Cluster,
    policy: Policy,
    gate: Gate | None = None,
) -> Decisions:
    """Decide for all of ``queue``, in any order, what starts on ``machine`` at ``now_s``.

    ``rules``: everything of the site but its nodes.
    """
    scheduler = scheduler_of(queue, running, machine, now_s, rules=rules, policy=policy, gate=gate)
    decided = scheduler.decide(now_s)
    starts = []
    if decided.starts:
        devices = Devices(machine, (piece for run in running for piece in run.placed))
        for job, grants in decided.starts:
            starts.append(Start(job.id, devices.pin(job.request, grants)))
    reasons = dict(Reasons(scheduler, now_s).each())
    return Decisions(tuple(starts), tuple(decided.stops), reasons, scheduler.wake_s(now_s))


def scheduler_of(
    queue: Sequence[Queued],
    running: Sequence[Running],
    machine: Machine,
    now_s: float,
    *,
    rules: Cluster,
    policy: Policy,
    gate: Gate | None = None,
) -> Scheduler:
    """The scheduler in this state, before it decides."""
    scheduler = Scheduler(replace(rules, nodes=machine.specs), policy, gate=gate)
    for run in sorted(running, key=lambda run: run.started_s):
        active = scheduler.adopt(run.job, machine.grants_of(run.placed), run.started_s)
        if run.stopping:
            reason = "preempt" if run.resize_to is None else "resize"
            active.stop = Stop(run.job.id, reason, "", 0.0, run.resize_to)
    scheduler.fill(sorted(queue, key=lambda job: (job.submitted_s, natural(job.id))), now_s)
    return scheduler


@lru_cache(maxsize=1 << 16)
def natural(run_id: str) -> tuple[tuple[bool, int | str], ...]:
    """Sort key under which gpt-9 comes before gpt-10."""
    parts = re.split(r"(\d+)", run_id)
    return tuple((part.isdigit(), int(part) if part.isdigit() else part) for part in parts)
