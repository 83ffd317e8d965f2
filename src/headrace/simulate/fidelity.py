"""Does a replay of history's own policy behave like history? If not, nothing else it says holds.

Waits of both are compared as distributions. Waits under a minute count as a minute: real
schedulers take that long to look at the queue, and a replay does not.

* faithful: KS distance <= 0.10; median and 90th percentile within 25 % of history, or 2 min
* rough: KS distance <= 0.25; both within a factor of 2, or 10 min
* off: anything else; no conclusion about the real cluster can be drawn
* unknown: fewer than 30 jobs say when they started in history
"""

from dataclasses import dataclass

import numpy as np

from headrace.core.look import format_seconds
from headrace.core.records import Record
from headrace.simulate.jobs import Floats, Integers, Jobs, Labels, eligible, seconds
from headrace.simulate.measure import sizes
from headrace.simulate.replay import Replay
from headrace.simulate.trace import Trace

HISTORY = "history"
JOBS_MIN = 30
_FLOOR_S = 60.0


@dataclass(frozen=True)
class Bar:
    """How far a replay may be from history."""

    ks: float
    share: float
    slack_s: float


FAITHFUL = Bar(ks=0.10, share=0.25, slack_s=120.0)
ROUGH = Bar(ks=0.25, share=1.0, slack_s=600.0)


class Likeness(Record, frozen=True, kw_only=True):
    """Waits of the same jobs in history and in the replay. ``ks``: Kolmogorov-Smirnov distance."""

    name: str
    jobs: int
    history_median_s: float
    history_p90_s: float
    replay_median_s: float
    replay_p90_s: float
    ks: float

    def within(self, bar: Bar) -> bool:
        pairs = (
            (self.history_median_s, self.replay_median_s),
            (self.history_p90_s, self.replay_p90_s),
        )
        return self.ks <= bar.ks and all(
            max(one, other) - min(one, other)
            <= max(bar.slack_s, bar.share * min(max(one, _FLOOR_S), max(other, _FLOOR_S)))
            for one, other in pairs
        )


class Fidelity(Record, frozen=True, kw_only=True):
    """``order``: Spearman correlation of the two orders of starts.

    ``close_share``: of jobs that start within 60 s of history, or within 10 % of their wait.
    ``without_history``: jobs that started in only one of the two, or do not say.
    """

    policy: str
    verdict: str
    jobs: int
    without_history: int
    overall: Likeness | None = None
    order: float | None = None
    close_share: float | None = None
    by_size: tuple[Likeness, ...] = ()
    by_partition: tuple[Likeness, ...] = ()

    @property
    def sentence(self) -> str:
        """The verdict for people, with its figures."""
        if self.overall is None:
            return (
                f"Replay check: not possible, only {self.jobs:,} of "
                f"{self.jobs + self.without_history:,} jobs say when they started in history. "
                "The figures compare policies on this workload, not with the real cluster."
            )
        one = self.overall
        figures = (
            f"median wait {format_seconds(one.replay_median_s)} against "
            f"{format_seconds(one.history_median_s)} in history, 90th percentile "
            f"{format_seconds(one.replay_p90_s)} against {format_seconds(one.history_p90_s)}, "
            f"KS distance {one.ks:.2f}, {100 * (self.close_share or 0):.0f} % of "
            f"{self.jobs:,} starts close to history's"
        )
        return f"Replay check ({self.policy}): {_WORDS[self.verdict]} ({figures})."


_WORDS = {
    "faithful": "behaves like history",
    "rough": "roughly like history; believe large differences only",
    "off": "NOT like history. No conclusion about the real cluster can be drawn from what follows; "
    "look for another --history policy, the right nodes and limits, or what the trace hides: "
    "holds, reservations, drained nodes",
}


def history(trace: Trace) -> Replay:
    """History itself, as if it were a replay: jobs that do not say when never started."""
    jobs = trace.jobs
    ends = [
        None if one.start_s is None else one.start_s + one.run_s if one.end_s is None else one.end_s
        for one in jobs
    ]
    return Replay(
        policy=HISTORY,
        trace=trace,
        start_s=[one.start_s for one in jobs],
        end_s=ends,
        busy_s=[
            0.0 if one.start_s is None or end is None else end - one.start_s
            for one, end in zip(jobs, ends, strict=True)
        ],
        slices=[one.job.request.nodes_max for one in jobs],
        preempted=[0] * len(jobs),
        failed=[0] * len(jobs),
        lost_s=[0.0] * len(jobs),
    )


def fidelity(replay: Replay, jobs: Jobs | None = None) -> Fidelity:
    """``replay``: of history's own policy, on history's own nodes."""
    jobs = jobs or Jobs.of(replay.trace)
    real = history(replay.trace)
    real_start_s, start_s = seconds(real.start_s), seconds(replay.start_s)
    both = np.flatnonzero(~np.isnan(real_start_s) & ~np.isnan(start_s))
    missing = len(start_s) - len(both)
    if len(both) < JOBS_MIN:
        return Fidelity(
            policy=replay.policy, verdict="unknown", jobs=len(both), without_history=missing
        )
    real_wait = np.maximum(0.0, real_start_s - eligible(real, jobs))[both]
    wait = np.maximum(0.0, start_s - eligible(replay, jobs))[both]
    off_s = np.abs(start_s - real_start_s)[both]
    overall = _likeness("all", real_wait, wait)
    return Fidelity(
        policy=replay.policy,
        verdict=_verdict(overall),
        jobs=len(both),
        without_history=missing,
        overall=overall,
        order=_spearman(real_start_s[both], start_s[both]),
        close_share=float(np.mean(off_s <= np.maximum(60.0, 0.1 * real_wait))),
        by_size=_by(sizes(jobs), both, real_wait, wait),
        by_partition=_by(jobs.partition, both, real_wait, wait),
    )


def _verdict(overall: Likeness) -> str:
    if overall.within(FAITHFUL):
        return "faithful"
    return "rough" if overall.within(ROUGH) else "off"


def _likeness(name: str, real: Floats, found: Floats) -> Likeness:
    real_median, real_p90 = np.percentile(real, [50, 90])
    median, p90 = np.percentile(found, [50, 90])
    return Likeness(
        name=name,
        jobs=len(real),
        history_median_s=float(real_median),
        history_p90_s=float(real_p90),
        replay_median_s=float(median),
        replay_p90_s=float(p90),
        ks=ks_distance(np.maximum(real, _FLOOR_S), np.maximum(found, _FLOOR_S)),
    )


def _by(labels: Labels, both: Integers, real: Floats, found: Floats) -> tuple[Likeness, ...]:
    if not any(labels.names):
        return ()
    of = labels.of[both]
    return tuple(
        _likeness(name or "(none)", real[of == code], found[of == code])
        for code, name in enumerate(labels.names)
        if (of == code).any()
    )


def ks_distance(one: Floats, other: Floats) -> float:
    """The largest difference between the two shares of values up to any value."""
    one, other = np.sort(one), np.sort(other)
    at = np.concatenate([one, other])
    below_one = np.searchsorted(one, at, side="right") / len(one)
    below_other = np.searchsorted(other, at, side="right") / len(other)
    return float(np.abs(below_one - below_other).max())


def _spearman(one: Floats, other: Floats) -> float:
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Floats) -> Integers:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable")
