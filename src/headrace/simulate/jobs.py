"""The jobs of a trace, and what became of them in a replay, as arrays in the trace's order.

Every measure is computed from these, so a million jobs are measured in a second or two.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.simulate.replay import Replay
from headrace.simulate.trace import Trace

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Labels:
    """A name for each job, as ``names[of[job]]``."""

    names: tuple[str, ...]
    of: Integers

    @classmethod
    def from_names(cls, names: Sequence[str]) -> "Labels":
        found: dict[str, int] = {}
        of = np.fromiter((found.setdefault(n, len(found)) for n in names), np.int64, len(names))
        return cls(tuple(found), of)


@dataclass(frozen=True)
class Jobs:
    """What each job asks for. ``nodes``: at its full width; ``cpus`` and ``gpus``: of each node.

    ``eligible_s``: when it might have begun at the earliest: submitted, or its begin time.
    ``run_s``: how long it works on all its nodes.
    """

    eligible_s: Floats
    run_s: Floats
    nodes: Integers
    cpus: Integers
    gpus: Integers
    user: Labels
    account: Labels
    partition: Labels

    @classmethod
    def of(cls, trace: Trace) -> "Jobs":
        asked = [one.job for one in trace.jobs]
        count = len(asked)
        return cls(
            eligible_s=np.fromiter(
                (max(job.submitted_s, job.begin_s or job.submitted_s) for job in asked),
                np.float64,
                count,
            ),
            run_s=np.fromiter((one.run_s for one in trace.jobs), np.float64, count),
            nodes=np.fromiter((job.request.nodes_max for job in asked), np.int64, count),
            cpus=np.fromiter((job.request.cpus_per_node for job in asked), np.int64, count),
            gpus=np.fromiter((job.request.gpus_per_node for job in asked), np.int64, count),
            user=Labels.from_names([job.user for job in asked]),
            account=Labels.from_names([job.account for job in asked]),
            partition=Labels.from_names([",".join(job.partitions) for job in asked]),
        )


@dataclass(frozen=True)
class Holds:
    """Every stretch of time in which a job held nodes: ``slices`` of them."""

    job: Integers
    begin_s: Floats
    end_s: Floats
    slices: Integers

    @classmethod
    def of(cls, replay: Replay) -> "Holds":
        cut_job = np.array([hold.job for hold in replay.cut], np.int64)
        cut_begin = np.array([hold.begin_s for hold in replay.cut], np.float64)
        cut_end = np.array([hold.end_s for hold in replay.cut], np.float64)
        cut_slices = np.array([hold.slices for hold in replay.cut], np.int64)
        started_s, end_s = seconds(replay.start_s), seconds(replay.end_s)
        ended = np.flatnonzero(~np.isnan(end_s))
        held_s = np.array(replay.busy_s, np.float64)
        np.subtract.at(held_s, cut_job, cut_end - cut_begin)
        begin_s = np.where(np.isin(np.arange(len(end_s)), cut_job), end_s - held_s, started_s)
        return cls(
            job=np.concatenate([cut_job, ended]),
            begin_s=np.concatenate([cut_begin, begin_s[ended]]),
            end_s=np.concatenate([cut_end, end_s[ended]]),
            slices=np.concatenate([cut_slices, np.array(replay.slices, np.int64)[ended]]),
        )

    def node_s(self, jobs: int) -> Floats:
        """Node-seconds held by each of ``jobs`` jobs."""
        held_s: Floats = (self.end_s - self.begin_s) * self.slices
        return np.bincount(self.job, held_s, jobs).astype(np.float64)


class Steps:
    """A function of time that is constant between changes, and 0 before the first."""

    def __init__(self, times_s: Floats, changes: Floats | Integers) -> None:
        order = np.argsort(times_s, kind="stable")
        times = times_s[order]
        last = np.append(times[1:] != times[:-1], True) if len(times) else np.zeros(0, bool)
        self.times_s: Floats = times[last]
        self.values: Floats = np.cumsum(changes[order]).astype(np.float64)[last]
        lengths = np.diff(self.times_s)
        self._areas = np.concatenate([[0.0], np.cumsum(self.values[:-1] * lengths)])

    def area(self, until_s: Floats) -> Floats:
        """The integral from the beginning to each of ``until_s``."""
        if not len(self.times_s):
            return np.zeros_like(until_s)
        at = np.searchsorted(self.times_s, until_s, side="right") - 1
        within = self._areas[at] + self.values[at] * (until_s - self.times_s[at])
        return np.where(at < 0, 0.0, within)

    def area_between(self, begin_s: float, end_s: float) -> float:
        low, high = self.area(np.array([begin_s, end_s]))
        return float(high - low)

    def positive(self) -> "Steps":
        """1 where this is above 0, else 0."""
        above = (self.values > 0).astype(np.int64)
        return Steps(self.times_s, np.diff(above, prepend=0))


def seconds(times: Sequence[float | None]) -> Floats:
    """NaN for None."""
    return np.array([np.nan if time is None else time for time in times], np.float64)


def eligible(replay: Replay, jobs: Jobs) -> Floats:
    """``jobs.eligible_s``, or the end in this replay of the last job it was to run after."""
    found = jobs.eligible_s
    number: dict[str, int] | None = None
    for at, one in enumerate(replay.trace.jobs):
        if not one.job.after:
            continue
        if number is None:
            number = {other.job.id: n for n, other in enumerate(replay.trace.jobs)}
            found = found.copy()
        for after in one.job.after:
            end_s = replay.end_s[number[after.run_id]] if after.run_id in number else None
            if end_s is not None:
                found[at] = max(found[at], end_s)
    return found


def in_system(replay: Replay, eligible_s: Floats) -> tuple[Integers, Floats]:
    """The jobs that were queued and left again, and when: ended, or cancelled while they waited."""
    left_s = seconds(replay.end_s)
    for at in np.flatnonzero(np.isnan(left_s)).tolist():
        cancelled_s = replay.trace.jobs[at].cancelled_s
        if cancelled_s is not None and replay.start_s[at] is None:
            left_s[at] = max(cancelled_s, eligible_s[at])
    left = np.flatnonzero(~np.isnan(left_s))
    return left, left_s[left]


def never_started(replay: Replay) -> dict[str, int]:
    """Why jobs never started -> how many."""
    found: dict[str, int] = {}
    for one, start_s in zip(replay.trace.jobs, replay.start_s, strict=True):
        if start_s is not None:
            continue
        if one.cancelled_s is not None:
            why = "cancelled while it waited"
        elif one.job.held:
            why = "held"
        elif one.job.after:
            why = "what it was to run after never ended so"
        else:
            why = "does not fit the cluster or its limits"
        found[why] = found.get(why, 0) + 1
    return found
