"""Synthetic jobs for a GPU cluster of any size, at a load that is asked for. Same seed, same jobs.

Shapes follow published GPU clusters: most jobs are small and short, most GPU time is in large ones
(Philly, Helios, Acme); submissions have a daily cycle; a few users submit most.
"""

import gc

import numpy as np
from numpy.typing import NDArray

from headrace.core.records import Record
from headrace.core.states import State
from headrace.core.units import DAY_S
from headrace.schedule.cluster import Account, Cluster, NodeSpec
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request
from headrace.simulate.trace import Trace, TraceJob

GPUS_PER_NODE = 8
_CPUS_PER_GPU = 16
_SHARES_OF_SIZES = (0.70, 0.08, 0.08, 0.09)  # of jobs with 1, 2, 4, 8 GPUs; the rest is larger
_LARGER_FALLS_BY = 0.55  # each doubling beyond a node is so much rarer
_LARGEST_SHARE = 0.25  # no job asks for more of the cluster
_MEDIAN_RUN_S = 600.0
_RUN_SIGMA = 2.1  # of the log: mean over median is exp(sigma^2 / 2), about 9
_LONGEST_RUN_S = 7 * DAY_S
_DAILY_SWING = 0.6  # the busiest hour has so much more than the mean
_LIMITS_S = np.array([0.25, 0.5, 1, 2, 4, 8, 12, 24, 48, 96, 168, 336]) * 3600.0
_ZIPF = 1.2
_ENDS = ((State.COMPLETED, 0.70), (State.CANCELLED, 0.15), (State.FAILED, 0.15))


class Synthesis(Record, frozen=True, kw_only=True):
    """``load``: GPU seconds asked for, over GPU seconds there are while jobs arrive."""

    jobs: int
    gpus: int
    load: float = 0.9
    users: int = 200
    accounts: int = 20
    seed: int = 0


def synthesize(wanted: Synthesis) -> Trace:
    """Jobs on ``gpus`` rounded up to whole nodes of 8."""
    random = np.random.default_rng(wanted.seed)
    nodes = max(1, -(-wanted.gpus // GPUS_PER_NODE))
    count = wanted.jobs
    gpus = _sizes(random, count, nodes * GPUS_PER_NODE)
    run_s = np.minimum(
        np.exp(random.normal(np.log(_MEDIAN_RUN_S), _RUN_SIGMA, count)), _LONGEST_RUN_S
    ).round(1)
    run_s = np.maximum(run_s, 1.0)
    span_s = float((gpus * run_s).sum()) / (nodes * GPUS_PER_NODE * wanted.load)
    submit_s = _arrivals(random, count, span_s)
    over = np.exp(random.exponential(1.0, count)) * run_s
    limit_s = _LIMITS_S[np.minimum(np.searchsorted(_LIMITS_S, over), len(_LIMITS_S) - 1)]
    users = _zipf(random, count, wanted.users)
    ends = random.choice(len(_ENDS), count, p=[share for _, share in _ENDS])
    return Trace(
        name=f"synthetic-{wanted.jobs}x{nodes * GPUS_PER_NODE}-seed{wanted.seed}",
        jobs=_jobs(gpus, submit_s, run_s, limit_s, users, ends, wanted.accounts),
        cluster=_cluster(nodes, wanted),
        notes=(f"synthetic jobs: load {wanted.load:g}, {span_s / DAY_S:.1f} days of arrivals",),
    )


def _sizes(random: np.random.Generator, count: int, machine: int) -> NDArray[np.int64]:
    """Powers of two, to a quarter of the machine."""
    sizes = [1]
    while sizes[-1] * 2 <= max(1, machine * _LARGEST_SHARE):
        sizes.append(sizes[-1] * 2)
    beyond = len(sizes) - len(_SHARES_OF_SIZES)
    tail = [_LARGER_FALLS_BY**step for step in range(max(0, beyond))]
    rest = 1 - sum(_SHARES_OF_SIZES)
    shares = [*_SHARES_OF_SIZES[: len(sizes)], *(rest * one / sum(tail) for one in tail)]
    chosen = random.choice(len(sizes), count, p=np.array(shares) / sum(shares))
    return np.array(sizes, dtype=np.int64)[chosen]


def _arrivals(random: np.random.Generator, count: int, span_s: float) -> NDArray[np.float64]:
    """A Poisson process whose rate swings with the day, over ``span_s``."""
    uniform = np.sort(random.random(count))
    at_s = np.linspace(0.0, span_s, 4096 if span_s < 400 * DAY_S else 65_536)
    turn = 2 * np.pi / DAY_S
    expected = at_s + _DAILY_SWING / turn * (1 - np.cos(turn * at_s))
    return np.interp(uniform, expected / expected[-1], at_s).round(1)


def _zipf(random: np.random.Generator, count: int, kinds: int) -> NDArray[np.int64]:
    weights = 1.0 / np.arange(1, kinds + 1) ** _ZIPF
    chosen: NDArray[np.int64] = random.choice(kinds, count, p=weights / weights.sum())
    return chosen


def _account_of(user: int, accounts: int) -> int:
    return user % accounts


def _jobs(
    gpus: NDArray[np.int64],
    submit_s: NDArray[np.float64],
    run_s: NDArray[np.float64],
    limit_s: NDArray[np.float64],
    users: NDArray[np.int64],
    ends: NDArray[np.int64],
    accounts: int,
) -> tuple[TraceJob, ...]:
    requests = {int(size): _request(int(size)) for size in np.unique(gpus)}
    known = range(int(users.max(initial=0)) + 1)
    names = [(f"user{user}", f"account{_account_of(user, accounts)}") for user in known]
    states = [state for state, _ in _ENDS]
    columns = (one.tolist() for one in (gpus, submit_s, run_s, limit_s, users, ends))
    enabled = gc.isenabled()
    gc.disable()  # a million records without one cycle: scanning them again and again costs most
    try:
        return tuple(
            TraceJob(
                job=Queued(
                    id=str(number),
                    request=requests[size],
                    submitted_s=submit,
                    limit_s=limit,
                    user=names[user][0],
                    account=names[user][1],
                ),
                run_s=run,
                state=states[end],
            )
            for number, (size, submit, run, limit, user, end) in enumerate(
                zip(*columns, strict=True), start=1
            )
        )
    finally:
        if enabled:
            gc.enable()


def _request(gpus: int) -> Request:
    nodes = -(-gpus // GPUS_PER_NODE)
    each = min(gpus, GPUS_PER_NODE)
    return Request(nodes_min=nodes, nodes_max=nodes, ranks_per_node=each, gpus_per_node=each)


def _cluster(nodes: int, wanted: Synthesis) -> Cluster:
    cpus, gpus = _CPUS_PER_GPU * GPUS_PER_NODE, (("gpu", GPUS_PER_NODE),)
    users = range(wanted.users)
    accounts = [Account(name=f"account{number}") for number in range(wanted.accounts)]
    members = [
        Account(name=f"account{_account_of(user, wanted.accounts)}", user=f"user{user}")
        for user in users
    ]
    return Cluster(
        nodes=tuple(NodeSpec(name=f"n{i}", cpus=cpus, gpus=gpus) for i in range(1, nodes + 1)),
        accounts=(*accounts, *members),
    )
