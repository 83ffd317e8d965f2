"""What a run did and what it cost: one frozen ``Report`` from one ``History``. Pure."""

import math
import statistics
from itertools import pairwise

from headrace.core.events import StepMetric
from headrace.core.records import Record
from headrace.monitor.history import Checkpoint, History
from headrace.monitor.notes import notes
from headrace.monitor.timeline import Cause, time_by_cause
from headrace.monitor.usage import Usage, usage


class Loss(Record, frozen=True, kw_only=True):
    """``last`` is None where it was no finite number: the run diverged."""

    first: float
    last: float | None
    best: float
    best_step: int


class AttemptLine(Record, frozen=True, kw_only=True):
    number: int
    duration_s: float
    world_size: int
    outcome: str
    detail: str


class CheckpointLine(Record, frozen=True, kw_only=True):
    """Checkpoints together: the size of the last, medians of stall and of time to durable."""

    saved: int
    last_step: int
    size_bytes: int
    stall_s: float
    durable_s: float


class Report(Record, frozen=True, kw_only=True):
    """Version 1 of what ``headrace report --json`` prints. Times are seconds since 1970.

    ``seconds`` is the wall time by cause; its values add up to ``wall_s``. ``goodput`` is the time
    of steps that counted, without checkpoint stalls, over the wall time. ``steps`` is the highest
    step reached, ``steps_repeated`` how many were done again after a restart.
    ``samples_per_s_overall`` counts from the first attempt's start, restarts included.
    """

    schema: int = 1
    run_id: str
    user: str
    state: str
    detail: str
    begin_s: float
    end_s: float
    wall_s: float
    queue_s: float
    restarts: int
    attempts: tuple[AttemptLine, ...]
    steps: int
    steps_repeated: int
    total_steps: int | None
    samples: int
    samples_per_s_median: float | None
    samples_per_s_overall: float | None
    loss: Loss | None
    seconds: dict[str, float]
    goodput: float
    usage: Usage
    checkpoints: CheckpointLine | None
    notes: tuple[str, ...]


def report(history: History) -> Report:
    """Sum up; a run in progress gets the report of what is known so far."""
    wall_s = history.end_s - history.begin_s
    time, used, kept = time_by_cause(history), usage(history), history.kept_steps
    samples = kept[-1].samples if kept else 0
    training_s = history.end_s - history.attempts[0].start_s if history.attempts else 0.0
    rates = samples_per_s(kept)
    return Report(
        run_id=history.run_id,
        user=history.user,
        state=history.state,
        detail=history.detail,
        begin_s=history.begin_s,
        end_s=history.end_s,
        wall_s=wall_s,
        queue_s=time.seconds[Cause.QUEUE],
        restarts=history.restarts,
        attempts=tuple(
            AttemptLine(
                number=attempt.number,
                duration_s=attempt.end_s - attempt.start_s,
                world_size=attempt.world_size,
                outcome=attempt.outcome or "running",
                detail=attempt.detail,
            )
            for attempt in history.attempts
        ),
        steps=history.last_step,
        steps_repeated=sum(step.repeated for step in history.steps),
        total_steps=history.total_steps,
        samples=samples,
        samples_per_s_median=statistics.median(rate for _, rate in rates) if rates else None,
        samples_per_s_overall=samples / training_s if samples and training_s > 0 else None,
        loss=_loss(kept),
        seconds=time.seconds,
        goodput=time.useful_s / wall_s if wall_s > 0 else 0.0,
        usage=used,
        checkpoints=_checkpoints(history.checkpoints),
        notes=notes(history, used, time),
    )


def samples_per_s(kept: list[StepMetric]) -> list[tuple[StepMetric, float]]:
    """Samples a second in each step but the first, whose own samples are not known."""
    return [
        (metric, (metric.samples - before.samples) / metric.step_s)
        for before, metric in pairwise(kept)
        if metric.step_s > 0 and metric.samples > before.samples and metric.step == before.step + 1
    ]


def _loss(kept: list[StepMetric]) -> Loss | None:
    told = [(metric.step, metric.values["loss"]) for metric in kept if "loss" in metric.values]
    finite = [(step, value) for step, value in told if value is not None and math.isfinite(value)]
    if not finite:
        return None
    best_step, best = min(finite, key=lambda item: item[1])
    last = told[-1][1]
    return Loss(
        first=finite[0][1],
        last=last if last is not None and math.isfinite(last) else None,
        best=best,
        best_step=best_step,
    )


def _checkpoints(saved: tuple[Checkpoint, ...]) -> CheckpointLine | None:
    if not saved:
        return None
    return CheckpointLine(
        saved=len(saved),
        last_step=max(checkpoint.step for checkpoint in saved),
        size_bytes=saved[-1].size_bytes,
        stall_s=statistics.median(checkpoint.stall_s for checkpoint in saved),
        durable_s=statistics.median(checkpoint.durable_s for checkpoint in saved),
    )
