"""What the counters of the nodes measured for a run, from the ends of its metrics files."""

from pathlib import Path

from headrace.core.events import NodeSample, decode_metric
from headrace.core.records import DecodeError
from headrace.core.rundir import RunDir, read_plain

_TAIL_BYTES = 1 << 16


def measured_j(run: RunDir) -> float | None:
    """For all attempts and nodes together; None where nothing was measured."""
    found = [
        energy_j
        for number in run.attempts()
        for path in run.attempt(number).glob("nodes/*/metrics.jsonl")
        if (energy_j := _last_j(path)) is not None
    ]
    return sum(found) if found else None


def _last_j(path: Path) -> float | None:
    """A sample counts from the attempt's start, so the last one has it all."""
    try:
        lines = read_plain(path, -_TAIL_BYTES).splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            metric = decode_metric(line)
        except DecodeError:
            continue
        if isinstance(metric, NodeSample):
            return metric.energy_j
    return None
