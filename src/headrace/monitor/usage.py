"""What a run was given and what it used: CPU and GPU time, memory, energy. Pure.

Energy is what counters measured, wherever there was one. What no counter covers is estimated by
stated rules of thumb, and marked as an estimate:

* GPU without a counter, its power sampled: power times the time between samples.
* GPU without either: ``GPU_NODE_W`` for each busy GPU, its share of the host included. 900 W is
  700 W, the power limit of an H100 SXM, and a quarter more for processors, memory and fans.
* processors without RAPL: ``CPU_W`` for each busy CPU. Server processors are rated at 3.5 to 7 W a
  core under load; idle power, memory, fans and losses of the power supply are not in it.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from headrace.core.events import NodeSample
from headrace.core.records import Record
from headrace.core.states import State
from headrace.monitor.history import History, NodeSeries

GPU_NODE_W = 900.0
CPU_W = 5.0
_HOUR_S = 3600.0
_J_PER_KWH = 3.6e6


class Energy(Record, frozen=True, kw_only=True):
    """``total_kwh`` is None where nothing is known. ``method`` says in words how it was found."""

    total_kwh: float | None
    measured_kwh: float
    estimated_kwh: float
    method: str


class Usage(Record, frozen=True, kw_only=True):
    """Hours are of CPUs and GPUs. Ratios are used of allocated; None where nothing was sampled.

    ``memory_peak_bytes`` is the highest sample of a node, ``memory_given_bytes`` what a node was
    allowed.
    """

    cpus: int
    gpus: int
    cpu_hours_allocated: float
    cpu_hours_used: float
    cpu_ratio: float | None
    gpu_hours_allocated: float
    gpu_hours_used: float | None
    gpu_ratio: float | None
    gpu_memory_peak_bytes: int
    memory_peak_bytes: int
    memory_given_bytes: int | None
    memory_kind: str
    samples: int
    energy: Energy


def usage(history: History) -> Usage:
    """Sum up allocations and samples of all attempts."""
    cpu_s, gpu_s = _allocated_s(history)
    samples = [sample for series in history.nodes for sample in series.samples]
    cpu_used_s = sum(series.samples[-1].cpu_s for series in history.nodes)
    gpu_ratio = _mean(gpu.utilization_ratio for sample in samples for gpu in sample.gpus)
    given = [p.memory_bytes for span in history.spans for p in span.placed if p.memory_bytes]
    busiest = max(samples, key=lambda sample: sample.memory_bytes, default=None)
    return Usage(
        cpus=_last_placed(history)[0],
        gpus=_last_placed(history)[1],
        cpu_hours_allocated=cpu_s / _HOUR_S,
        cpu_hours_used=cpu_used_s / _HOUR_S,
        cpu_ratio=cpu_used_s / cpu_s if samples and cpu_s else None,
        gpu_hours_allocated=gpu_s / _HOUR_S,
        gpu_hours_used=None if gpu_ratio is None else gpu_s * gpu_ratio / _HOUR_S,
        gpu_ratio=gpu_ratio,
        gpu_memory_peak_bytes=max((g.memory_bytes for s in samples for g in s.gpus), default=0),
        memory_peak_bytes=busiest.memory_bytes if busiest else 0,
        memory_given_bytes=min(given, default=None),
        memory_kind=busiest.memory_kind if busiest else "rss",
        samples=len(samples),
        energy=energy(history.nodes, gpu_s=gpu_s, gpu_ratio=gpu_ratio),
    )


def energy(nodes: Sequence[NodeSeries], *, gpu_s: float, gpu_ratio: float | None) -> Energy:
    """``gpu_s``: GPU seconds allocated; ``gpu_ratio``: their mean utilisation, None if unknown."""
    measured_j = sum(series.samples[-1].energy_j or 0.0 for series in nodes)
    covered = [_covered(series.samples[-1]) for series in nodes]
    methods = ["counters of the devices"] if any(covered) else []
    estimated_j, host_counted = 0.0, False
    if gpu_s and not (covered and all("gpu" in parts for parts in covered)):
        if power_j := sum(_power_j(series.samples) for series in nodes):
            estimated_j += power_j
            methods.append("GPU: sampled power times time")
        else:
            busy_s = gpu_s * (1.0 if gpu_ratio is None else gpu_ratio)
            estimated_j += GPU_NODE_W * busy_s
            methods.append(f"GPU and host: {GPU_NODE_W:.0f} W x busy GPU time")
            host_counted = True
    cpu_s = sum(
        series.samples[-1].cpu_s
        for series, parts in zip(nodes, covered, strict=True)
        if "cpu" not in parts
    )
    if cpu_s and not host_counted:
        estimated_j += CPU_W * cpu_s
        methods.append(f"CPU: {CPU_W:.0f} W x busy CPU time")
    return Energy(
        total_kwh=(measured_j + estimated_j) / _J_PER_KWH if methods else None,
        measured_kwh=measured_j / _J_PER_KWH,
        estimated_kwh=estimated_j / _J_PER_KWH,
        method="; ".join(methods) or "nothing was sampled",
    )


def _covered(sample: NodeSample) -> tuple[str, ...]:
    return sample.energy_parts if sample.energy_j is not None else ()


def _power_j(samples: Sequence[NodeSample]) -> float:
    """Trapezoids over the sampled power of all GPUs of a node."""
    powers = [(sample.time_s, sum(gpu.power_w or 0.0 for gpu in sample.gpus)) for sample in samples]
    return sum(
        max(0.0, later_s - time_s) * (power_w + later_w) / 2
        for (time_s, power_w), (later_s, later_w) in pairwise(powers)
    )


def _allocated_s(history: History) -> tuple[float, float]:
    """CPU and GPU seconds: a place is held as long as the run is RUNNING, between attempts too."""
    held = [
        (span.end_s - span.start_s, len(placed.cpus), len(placed.gpus))
        for span in history.spans
        if span.state == State.RUNNING
        for placed in span.placed
    ]
    if not held:
        held = [(a.end_s - a.start_s, a.cpus, a.gpus) for a in history.attempts]
    return sum(s * cpus for s, cpus, _ in held), sum(s * gpus for s, _, gpus in held)


def _last_placed(history: History) -> tuple[int, int]:
    placed = next((span.placed for span in reversed(history.spans) if span.placed), ())
    if placed:
        return sum(len(p.cpus) for p in placed), sum(len(p.gpus) for p in placed)
    last = history.attempts[-1] if history.attempts else None
    return (last.cpus, last.gpus) if last else (0, 0)


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None
