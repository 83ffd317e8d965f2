"""How long steps and checkpoints of earlier runs took, from their own files. Bounded reading."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from headrace.core.events import CheckpointSaved, StepMetric
from headrace.core.records import DecodeError, LineDecoder
from headrace.core.rundir import RunDir, read_events
from headrace.engines.slurm.grace import Times

_TAIL_BYTES = 1 << 16
_EVENTS_MAX_BYTES = 1 << 24
_STEP_MARK = b'"step_metric"'


def measured(runs: Iterable[RunDir]) -> Times:
    """The longest of them; of steps only the last ones of each attempt."""
    runs = list(runs)
    saves = [found for run in runs for found in _saves(run)]
    steps = [found for run in runs for found in _steps(run)]
    return Times(checkpoint_s=max(saves, default=None), step_s=max(steps, default=None))


def _saves(run: RunDir) -> Iterator[float]:
    """Until committed, with the time that training stood still."""
    for path in sorted(run.events.glob("*.jsonl")):
        with contextlib.suppress(OSError):
            if path.stat().st_size > _EVENTS_MAX_BYTES:
                continue
            for entry in read_events(path):
                if isinstance(entry.event, CheckpointSaved):
                    yield max(entry.event.durable_s, entry.event.stall_s)


def _steps(run: RunDir) -> Iterator[float]:
    decoder = LineDecoder[StepMetric](StepMetric)
    for number in run.attempts():
        for path in sorted(run.attempt(number).glob("nodes/*/metrics.jsonl"))[:1]:
            for line in _last_lines(path):
                if _STEP_MARK in line:
                    with contextlib.suppress(DecodeError):
                        yield decoder(line).step_s


def _last_lines(path: Path) -> list[bytes]:
    """Whole lines of the end of the file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().splitlines(keepends=True)
    except OSError:
        return []
    whole = [line for line in lines if line.endswith(b"\n")]
    return whole[1:] if size > _TAIL_BYTES else whole
