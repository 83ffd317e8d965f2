"""Live decisions: which runs start now, on which CPUs and GPUs, who must stop, why others wait.

A ``Decider`` is kept from decision to decision and brought in step with the records before each, so
that 10,000 queued and 2,000 running runs cost what has changed, and the walk. Pure: the caller
carries the decisions out.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

from headrace.core.events import Placed
from headrace.core.records import replace
from headrace.core.states import State
from headrace.schedule.cluster import Cluster, Reservation
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


class Decider:
    """One machine under one set of rules. ``rules``: everything of the site but its nodes."""

    def __init__(
        self, machine: Machine, *, rules: Cluster, policy: Policy, gate: Gate | None = None
    ) -> None:
        self._machine = machine
        self._policy = policy
        self.scheduler = Scheduler(replace(rules, nodes=machine.specs), policy, gate=gate)
        self._queue: dict[str, Queued] = {}
        self._placed: dict[str, tuple[Placed, ...]] = {}

    def reserve(self, reservations: Sequence[Reservation]) -> None:
        """These are all there are from now on."""
        scheduler = self.scheduler
        entries = [(one, scheduler.sites.named(one.nodes)) for one in reservations]
        if scheduler.calendar.entries != entries:
            scheduler.calendar.entries = entries
            scheduler.discipline = self._policy.discipline()
            scheduler.edge()

    def keep_step(
        self, queue: Mapping[str, Queued], running: Mapping[str, Running], now_s: float
    ) -> None:
        """What waits and what runs now. A record that is the same object has not changed."""
        scheduler = self.scheduler
        for run_id in [one for one in scheduler.active if one not in running]:
            scheduler.end(run_id, now_s, State.PREEMPTED)
        gone = {run_id for run_id, job in self._queue.items() if queue.get(run_id) is not job}
        if gone:
            scheduler.discard(gone - scheduler.active.keys())
        for run in sorted(running.values(), key=_started_s):
            active = scheduler.active.get(run.job.id)
            if active is None:
                grants = self._machine.grants_of(run.placed)
                active = scheduler.adopt(run.job, grants, run.started_s)
            if run.stopping and active.stop is None:
                reason = "preempt" if run.resize_to is None else "resize"
                active.stop = Stop(run.job.id, reason, "", 0.0, run.resize_to)
        fresh = [job for run_id, job in queue.items() if self._queue.get(run_id) is not job]
        scheduler.fill(sorted(fresh, key=_submission), now_s)
        self._queue = dict(queue)
        self._placed = {run_id: run.placed for run_id, run in running.items()}

    def decide(self, now_s: float) -> Decisions:
        """Every run that waited either starts now or has its reason."""
        decided = self.scheduler.decide(now_s)
        starts = []
        if decided.starts:
            held = (piece for placed in self._placed.values() for piece in placed)
            devices = Devices(self._machine, held)
            for job, grants in decided.starts:
                starts.append(Start(job.id, devices.pin(job.request, grants)))
                del self._queue[job.id]  # if it waits again, it is as if it came anew
        reasons = dict(Reasons(self.scheduler, now_s).each())
        wake_s = self.scheduler.wake_s(now_s)
        return Decisions(tuple(starts), tuple(decided.stops), reasons, wake_s)


_started_s = attrgetter("started_s")


def _submission(job: Queued) -> tuple[object, ...]:
    return job.submitted_s, natural(job.id)


@lru_cache(maxsize=1 << 16)
def natural(run_id: str) -> tuple[tuple[bool, int | str], ...]:
    """Sort key under which gpt-9 comes before gpt-10."""
    parts = re.split(r"(\d+)", run_id)
    return tuple((part.isdigit(), int(part) if part.isdigit() else part) for part in parts)
