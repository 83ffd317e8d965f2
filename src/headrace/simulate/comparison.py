"""A trace under several policies, side by side, with what can be said about how far to believe it.

The replay check comes first. Then every policy meets the same jobs, the same nodes and the same
failures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace.core.records import Record, to_builtins
from headrace.schedule.cluster import Cluster
from headrace.schedule.limits import Limiter
from headrace.schedule.policies import policy as policy_named
from headrace.simulate.bootstrap import Certainty, certainties
from headrace.simulate.curve import Curve, curve
from headrace.simulate.failures import (
    FailureModel,
    horizon_s,
    node_events,
    with_software_deaths,
)
from headrace.simulate.fidelity import JOBS_MIN, Fidelity, fidelity, history
from headrace.simulate.grow import grow, size
from headrace.simulate.jobs import Jobs
from headrace.simulate.measure import Measures, measure, outcome
from headrace.simulate.replay import NoCluster, NodeEvent, Replay, replay
from headrace.simulate.trace import Trace

_WORSE = 1.1
CAVEAT = (
    "Jobs are submitted at the times of the trace whatever they wait. Real users submit less when "
    "waits grow, so changes are smaller than a replay says."
)

Progress = Callable[[str, float], None]


class Scenario(Record, frozen=True, kw_only=True):
    """``policies`` on the trace's cluster, changed by ``nodes`` (``+16``).

    ``history``: the policy that the real cluster had, for the replay check; None: EASY where jobs
    have time limits, else FIFO. ``added``: node counts of the curve. ``failures``: on top of what
    the trace holds. ``allocations``: the replays say which nodes each job got.
    """

    policies: tuple[str, ...]
    nodes: str | None = None
    history: str | None = None
    failures: FailureModel | None = None
    seed: int = 0
    added: tuple[int, ...] = ()
    allocations: bool = False


class Comparison(Record, frozen=True, kw_only=True):
    """``measures``: history first, where the trace has it; then one a policy.

    ``worse_off``: policy -> users whose mean slowdown is more than 10 % above that under the first
    policy, of ``users``.
    """

    schema: int = 1
    trace: str
    machine: str
    jobs: int
    users: int
    notes: tuple[str, ...]
    fidelity: Fidelity | None
    measures: tuple[Measures, ...]
    certainties: tuple[Certainty, ...]
    worse_off: dict[str, int]
    curves: tuple[Curve, ...]
    failures: FailureModel | None
    seed: int

    def __getitem__(self, policy: str) -> Measures:
        """Of one policy, or of ``history``. Raise ``KeyError``."""
        for one in self.measures:
            if one.policy == policy:
                return one
        raise KeyError(policy)

    def to_dict(self) -> object:
        """For JSON: dicts, lists, numbers and strings."""
        return to_builtins(self)

    def _repr_html_(self) -> str:
        from headrace.simulate.page import tables

        return tables(self)


@dataclass(frozen=True)
class Stage:
    """What every policy meets."""

    trace: Trace
    cluster: Cluster
    jobs: Jobs
    failures: FailureModel | None
    seed: int
    progress: Progress | None = None
    allocations: bool = False

    def events(self, cluster: Cluster) -> list[NodeEvent]:
        if self.failures is None:
            return []
        begin_s, until_s = horizon_s(self.trace, cluster)
        return node_events(self.failures, cluster, seed=self.seed, begin_s=begin_s, until_s=until_s)

    def replay(self, name: str, cluster: Cluster, *, text: str = "") -> Replay:
        told = self.progress
        return replay(
            self.trace,
            policy_named(name),
            cluster=cluster,
            gate=Limiter(cluster) if cluster.accounts or cluster.qos else None,
            failures=self.events(cluster),
            costs=self.failures.costs if self.failures else None,
            progress=None if told is None else lambda share: told(text or name, share),
            allocations=self.allocations,
        )

    def measures(self, found: Replay, cluster: Cluster) -> Measures:
        return measure(found, cluster=cluster, failures=self.events(cluster), jobs=self.jobs)


def compare(
    trace: Trace, scenario: Scenario, *, progress: Progress | None = None
) -> tuple[Comparison, tuple[Replay, ...]]:
    """The comparison, and the replay under each policy. ``progress``: what is done, and its share.

    Raise ``NoCluster``, ``PolicyUnknown``, ``NodesInvalid``.
    """
    own = trace.cluster
    if own is None:
        raise NoCluster(trace.name)
    for name in (*scenario.policies, *filter(None, [scenario.history])):
        policy_named(name)
    cluster = grow(own, scenario.nodes) if scenario.nodes else own
    jobs = Jobs.of(trace)
    model = scenario.failures
    hit = with_software_deaths(trace, model, seed=scenario.seed) if model else trace
    stage = Stage(
        hit, cluster, jobs, model, scenario.seed, progress, allocations=scenario.allocations
    )
    check = _check(trace, scenario, own, jobs, progress)
    replays = tuple(stage.replay(name, cluster) for name in scenario.policies)
    measures = [stage.measures(one, cluster) for one in replays]
    outcomes = [outcome(one, jobs) for one in replays]
    past = _past(trace, own, jobs)
    return (
        Comparison(
            trace=trace.name,
            machine=machine(cluster),
            jobs=len(trace.jobs),
            users=len(measures[0].by_user) if measures else 0,
            notes=(*trace.notes, CAVEAT),
            fidelity=check,
            measures=(*past, *measures),
            certainties=certainties(scenario.policies, outcomes, seed=scenario.seed),
            worse_off=_worse_off(measures),
            curves=_curves(stage, scenario),
            failures=model,
            seed=scenario.seed,
        ),
        replays,
    )


def machine(cluster: Cluster) -> str:
    """ "321 nodes with 2,568 GPUs and 20,544 CPUs"."""
    gpus = sum(count for node in cluster.nodes for _, count in node.gpus)
    cpus = sum(node.cpus for node in cluster.nodes)
    with_gpus = f"{gpus:,} GPUs and " if gpus else ""
    nodes = f"{len(cluster.nodes):,} node{'' if len(cluster.nodes) == 1 else 's'}"
    return f"{nodes} with {with_gpus}{cpus:,} CPUs"


def _check(
    trace: Trace, scenario: Scenario, own: Cluster, jobs: Jobs, progress: Progress | None
) -> Fidelity | None:
    """Replay history's policy on history's nodes without failures, if there is any history."""
    known = sum(one.start_s is not None for one in trace.jobs)
    limited = any(one.job.limit_s is not None for one in trace.jobs)
    name = scenario.history or ("easy" if limited else "fifo")
    if known < JOBS_MIN:
        return Fidelity(
            policy=name, verdict="unknown", jobs=known, without_history=len(trace.jobs) - known
        )
    stage = Stage(trace, own, jobs, None, scenario.seed, progress)
    return fidelity(stage.replay(name, own, text=f"replay check ({name})"), jobs)


def _past(trace: Trace, own: Cluster, jobs: Jobs) -> tuple[Measures, ...]:
    """History's own measures, where half of the jobs have one."""
    known = sum(one.start_s is not None for one in trace.jobs)
    if known < JOBS_MIN or 2 * known < len(trace.jobs):
        return ()
    return (measure(history(trace), cluster=own, jobs=jobs),)


def _worse_off(measures: Sequence[Measures]) -> dict[str, int]:
    if len(measures) < 2:
        return {}
    first = {one.name: one.slowdown.mean for one in measures[0].by_user if one.slowdown}
    return {
        other.policy: sum(
            one.slowdown is not None
            and one.name in first
            and one.slowdown.mean > _WORSE * first[one.name]
            for one in other.by_user
        )
        for other in measures[1:]
    }


def _curves(stage: Stage, scenario: Scenario) -> tuple[Curve, ...]:
    def under(name: str) -> Curve:
        def measured(cluster: Cluster) -> Measures:
            text = f"{name}, {size(cluster):,} nodes"
            return stage.measures(stage.replay(name, cluster, text=text), cluster)

        return curve(name, stage.cluster, scenario.added, measured)

    return tuple(under(name) for name in scenario.policies) if scenario.added else ()
