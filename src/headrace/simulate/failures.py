"""Nodes that fail and come back, and jobs that die of their own software: drawn from a seed.

Each node draws from a stream of its own, so the same nodes fail at the same times under every
policy, and also when nodes are added. Times between failures are exponential, or Weibull with a
shape below 1 (a node just repaired is more likely to fail again); repairs are log-normal.
"""

import re
from collections.abc import Iterable, Iterator
from math import exp, gamma, inf, log
from statistics import NormalDist
from zlib import crc32

from headrace.core.errors import UsageError
from headrace.core.records import Record, replace
from headrace.core.units import parse_duration_s
from headrace.schedule.cluster import Cluster
from headrace.simulate.replay import Costs, NodeEvent
from headrace.simulate.trace import Trace, TraceJob

_DAY_S = 86_400.0
_YEAR_S = 365 * _DAY_S
_HOUR_S = 3600.0
_DEATHS_MAX = 100  # of one job: one that never reaches a checkpoint would go on for ever


class FailureModel(Record, frozen=True, kw_only=True):
    """``per_1000_node_days`` is the mean over all nodes, lemons included.

    A lemon fails ``lemon_factor`` times as often as others. ``detect_s``: until a dead node is seen
    to be dead. ``per_1000_switch_days``: of each leaf switch, with all its nodes.
    ``storage_a_year``: events that take all nodes. ``outage_s``: median length of both.
    ``software_per_h``: deaths of each running job that its nodes outlive; it starts again in place.
    Repairs are log-normal with median ``repair_s`` and ``repair_sigma``.
    """

    name: str
    source: str = ""
    per_1000_node_days: float
    shape: float = 1.0
    lemon_share: float = 0.0
    lemon_factor: float = 10.0
    repair_s: float = 4 * _HOUR_S
    repair_sigma: float = 1.0
    detect_s: float = 60.0
    per_1000_switch_days: float = 0.0
    storage_a_year: float = 0.0
    outage_s: float = _HOUR_S
    software_per_h: float = 0.0
    restart_s: float = 300.0
    checkpoint_s: float = _HOUR_S

    @property
    def costs(self) -> Costs:
        return Costs(restart_s=self.restart_s, checkpoint_s=self.checkpoint_s)


PRESETS = {
    one.name: one
    for one in (
        FailureModel(
            name="rsc1",
            source="Meta RSC-1, 16,000 A100: 6.50 failures per 1,000 node-days (arXiv 2410.21680)",
            per_1000_node_days=6.50,
        ),
        FailureModel(
            name="rsc2",
            source="Meta RSC-2, 8,000 A100: 2.34 failures per 1,000 node-days (arXiv 2410.21680)",
            per_1000_node_days=2.34,
        ),
        FailureModel(
            name="llama3",
            source="Llama 3 on 16,384 H100: 466 interruptions in 54 days, planned ones included",
            per_1000_node_days=1000 * 466 / (54 * 2048),
        ),
    )
}


class FailuresUnknown(UsageError):
    """Not a failure model."""

    code = "HR-SIM-010"

    def __init__(self, text: str, why: str) -> None:
        super().__init__(
            f'"{text}" is not a failure model', why=why, remedy="--failures rsc1,repair=8h"
        )


def parse_failures(text: str) -> FailureModel:
    """``rsc1``, ``rate=6.5,repair=8h``, ``llama3,lemons=0.02``: a preset, or a rate, and changes.

    Raise ``FailuresUnknown``.
    """
    found: FailureModel | None = None
    for word in filter(None, re.split(r"[,\s]+", text.strip())):
        key, equals, value = word.partition("=")
        if not equals:
            if key not in PRESETS:
                why = f"the models are {', '.join(PRESETS)}; or give rate=PER_1000_NODE_DAYS"
                raise FailuresUnknown(text, why)
            found = PRESETS[key]
            continue
        if found is None:
            found = FailureModel(name=text, per_1000_node_days=0.0)
        found = replace(found, name=text, **_change(text, key, value))
    if found is None:
        raise FailuresUnknown(text, f"the models are {', '.join(PRESETS)}")
    return found


_NUMBERS = {
    "rate": ("per_1000_node_days", 0.0, 1e6),
    "shape": ("shape", 0.1, 10.0),
    "lemons": ("lemon_share", 0.0, 1.0),
    "switches": ("per_1000_switch_days", 0.0, 1e6),
    "storage": ("storage_a_year", 0.0, 1e4),
    "software": ("software_per_h", 0.0, 60.0),
}
_TIMES = {
    "repair": "repair_s",
    "detect": "detect_s",
    "outage": "outage_s",
    "restart": "restart_s",
    "checkpoint": "checkpoint_s",
}


def _change(text: str, key: str, value: str) -> dict[str, float]:
    if key in _TIMES:
        try:
            length_s = float(parse_duration_s(value))
        except ValueError as error:
            raise FailuresUnknown(text, f"{key}={value}: {error}") from None
        if length_s <= 0 and key in ("repair", "outage", "checkpoint"):
            raise FailuresUnknown(text, f"{key}={value}: it takes some time")
        return {_TIMES[key]: length_s}
    if key not in _NUMBERS:
        raise FailuresUnknown(text, f"{key}: the keys are {', '.join([*_NUMBERS, *_TIMES])}")
    field, low, high = _NUMBERS[key]
    try:
        number = float(value)
    except ValueError:
        number = inf
    if not low <= number <= high:
        raise FailuresUnknown(text, f"{key}={value}: it is a number from {low:g} to {high:g}")
    return {field: number}


def node_events(
    model: FailureModel, cluster: Cluster, *, seed: int, begin_s: float, until_s: float
) -> list[NodeEvent]:
    """What happens to the nodes from ``begin_s`` to ``until_s``, by time; each up has its down.

    Nodes are up at ``begin_s``. A node that is down twice over is down until both are mended.
    """
    outages: dict[str, list[tuple[float, float]]] = {}
    switches = {node.switch for node in cluster.nodes if node.switch}
    for switch in switches:
        rate = model.per_1000_switch_days / 1000 / _DAY_S
        outages[switch] = list(_outages(model, rate, (seed, f"switch {switch}"), begin_s, until_s))
    everywhere = list(
        _outages(model, model.storage_a_year / _YEAR_S, (seed, "storage"), begin_s, until_s)
    )
    events: list[NodeEvent] = []
    for number, node in enumerate(cluster.nodes):
        own = _failures(model, (seed, f"node {number}"), begin_s, until_s)
        for down_s, up_s in _merged([*own, *outages.get(node.switch, ()), *everywhere]):
            seen_s = down_s + model.detect_s
            events.append(NodeEvent(seen_s, number, False, model.detect_s))
            events.append(NodeEvent(max(up_s, seen_s), number, True))
    return sorted(events)


def _failures(
    model: FailureModel, key: tuple[int, str], begin_s: float, until_s: float
) -> Iterator[tuple[float, float]]:
    """(dead, mended) of one node."""
    plain = model.per_1000_node_days / 1000 / _DAY_S
    plain /= 1 + model.lemon_share * (model.lemon_factor - 1)
    draws = _draws(*key)
    is_lemon = next(draws) < model.lemon_share
    rate = plain * model.lemon_factor if is_lemon else plain
    yield from _renewals(
        draws, (rate, model.shape), (model.repair_s, model.repair_sigma), begin_s, until_s
    )


def _outages(
    model: FailureModel, rate: float, key: tuple[int, str], begin_s: float, until_s: float
) -> Iterator[tuple[float, float]]:
    yield from _renewals(
        _draws(*key), (rate, 1.0), (model.outage_s, model.repair_sigma), begin_s, until_s
    )


def _renewals(
    draws: Iterator[float],
    life: tuple[float, float],
    repair: tuple[float, float],
    begin_s: float,
    until_s: float,
) -> Iterator[tuple[float, float]]:
    """``life``: rate a second and Weibull shape; ``repair``: median and sigma."""
    rate, shape = life
    if rate <= 0:
        return
    scale_s = 1 / (rate * gamma(1 + 1 / shape))
    normal = NormalDist()
    now_s = begin_s
    while True:
        now_s += scale_s * (-log(next(draws))) ** (1 / shape)
        if now_s >= until_s:
            return
        mended_s = now_s + repair[0] * exp(repair[1] * normal.inv_cdf(next(draws)))
        yield now_s, mended_s
        now_s = mended_s


def _merged(downs: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Times that overlap or touch become one."""
    found: list[tuple[float, float]] = []
    for down_s, up_s in sorted(downs):
        if found and down_s <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], up_s))
        else:
            found.append((down_s, up_s))
    return found


def with_software_deaths(trace: Trace, model: FailureModel, *, seed: int) -> Trace:
    """Each job made longer by what it loses to its own software, dying and starting in place.

    Its time limit grows by as much: nobody asks for less than it takes.
    """
    if model.software_per_h <= 0:
        return trace
    return replace(trace, jobs=tuple(_dying(one, model, seed) for one in trace.jobs))


def _dying(one: TraceJob, model: FailureModel, seed: int) -> TraceJob:
    draws = _draws(seed, f"job {one.job.id}")
    left_s, more_s = one.run_s, 0.0
    for _ in range(_DEATHS_MAX):
        life_s = -log(next(draws)) * _HOUR_S / model.software_per_h
        if life_s >= left_s:
            break
        lost_s = life_s % model.checkpoint_s
        left_s -= life_s - lost_s
        more_s += lost_s + model.restart_s
    if not more_s:
        return one
    limit_s = None if one.job.limit_s is None else one.job.limit_s + more_s
    return replace(one, run_s=one.run_s + more_s, job=replace(one.job, limit_s=limit_s))


def horizon_s(trace: Trace, cluster: Cluster) -> tuple[float, float]:
    """From when to when nodes may fail: twice as long as the trace should take at the least."""
    jobs = trace.jobs
    if not jobs:
        return 0.0, 0.0
    begin_s = min(one.job.submitted_s for one in jobs)
    last_s = max(one.job.submitted_s for one in jobs) + max(one.run_s for one in jobs)
    work_s = sum(one.run_s * one.job.request.nodes_max for one in jobs) / len(cluster.nodes)
    return begin_s, begin_s + 2 * max(last_s - begin_s, work_s)


_WORD = (1 << 64) - 1


def _draws(seed: int, name: str) -> Iterator[float]:
    """Numbers in (0, 1) that depend on the seed and the name alone: splitmix64 (Steele 2014)."""
    state = (seed * 0x9E3779B97F4A7C15 ^ crc32(name.encode()) * 0xD1342543DE82EF95) & _WORD
    while True:
        state = (state + 0x9E3779B97F4A7C15) & _WORD
        mixed = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _WORD
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _WORD
        yield (((mixed ^ mixed >> 31) >> 12) + 0.5) / (1 << 52)
