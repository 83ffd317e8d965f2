"""Small traces, clusters and replays for tests of ``simulate``."""

from collections.abc import Sequence
from typing import Any

from headrace.schedule.cluster import Account, Cluster, NodeSpec
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request
from headrace.simulate.replay import Replay
from headrace.simulate.trace import Trace, TraceJob


def cluster(nodes: int = 2, *, gpus: int = 4, accounts: Sequence[Account] = ()) -> Cluster:
    specs = tuple(
        NodeSpec(name=f"n{number}", cpus=32, gpus=(("a100", gpus),) if gpus else ())
        for number in range(nodes)
    )
    return Cluster(nodes=specs, accounts=tuple(accounts))


def job(
    name: str,
    submitted_s: float,
    run_s: float,
    *,
    nodes: int = 1,
    gpus: int = 4,
    history: Any = None,  # noqa: ANN401
    cancelled_s: float | None = None,
    **queued: Any,  # noqa: ANN401
) -> TraceJob:
    """``history``: when it started in history."""
    request = Request(nodes_min=nodes, nodes_max=nodes, gpus_per_node=gpus)
    return TraceJob(
        job=Queued(id=name, request=request, submitted_s=submitted_s, **queued),
        run_s=run_s,
        cancelled_s=cancelled_s,
        start_s=history,
        end_s=None if history is None else history + run_s,
    )


def trace(*jobs: TraceJob, name: str = "made", where: Cluster | None = None) -> Trace:
    return Trace(name=name, jobs=jobs, cluster=where)


def replayed(made: Trace, starts: Sequence[float | None], policy: str = "fifo") -> Replay:
    """Each job ran in one piece from its start."""
    pairs = list(zip(made.jobs, starts, strict=True))
    return Replay(
        policy=policy,
        trace=made,
        start_s=list(starts),
        end_s=[None if start is None else start + one.run_s for one, start in pairs],
        busy_s=[0.0 if start is None else one.run_s for one, start in pairs],
        slices=[0 if start is None else one.job.request.nodes_max for one, start in pairs],
        preempted=[0] * len(pairs),
        failed=[0] * len(pairs),
        lost_s=[0.0] * len(pairs),
    )
