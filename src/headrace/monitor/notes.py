"""What to do better next time, in sentences with the line to change. Pure.

Thresholds are those of Princeton's jobstats where it has one: GPU below 15 % is bad, CPU below
65 % is worth a word, nothing is judged on fewer than 10 samples. Sentences go worst first.
"""

import math
from collections.abc import Iterator

from headrace.monitor.history import History
from headrace.monitor.timeline import Cause, TimeByCause
from headrace.monitor.usage import Usage

_SAMPLES_MIN = 10
_GPU_IDLE = 0.15
_GPU_LOW = 0.5
_CPU_LOW = 0.65
_GIB = 1 << 30


def notes(history: History, used: Usage, time: TimeByCause) -> tuple[str, ...]:
    """Sentences; none where there is nothing to say."""
    return (
        *_about_nodes(history),
        *_about_failures(history, time),
        *_about_saves(history),
        *_about_waiting(history, time),
        *_about_devices(history, used),
    )


def _about_nodes(history: History) -> Iterator[str]:
    """What was found before ranks started; what was said of several attempts once."""
    for one in dict.fromkeys(history.findings):
        if one.level != "note":
            bad = "cannot be used: " if one.level == "hard" else ""
            yield f"{', '.join(one.nodes)}: {bad}{one.text}: {one.remedy}."


def _about_failures(history: History, time: TimeByCause) -> Iterator[str]:
    last = history.attempts[-1] if history.attempts else None
    if last and last.outcome == "oom":
        yield f"Memory ran out ({last.detail}): ask for more memory or use a smaller micro-batch."
    if last and last.outcome == "hang":
        yield "No rank made progress at the end: read the stacks below attempts/*/nodes/*/stacks."
    losses = [m.values["loss"] for m in history.kept_steps if "loss" in m.values]
    if losses and (losses[-1] is None or not math.isfinite(losses[-1])):
        yield "The loss is not a number: lower the learning rate or clip gradients."
    repeated = sum(step.repeated for step in history.steps)
    if repeated and time.seconds[Cause.LOST] > 0.05 * _wall_s(history):
        yield (
            f"Restarts cost {time.seconds[Cause.LOST]:.0f} s and {repeated} steps were done twice: "
            "a shorter checkpoint interval (checkpoint: {every: ..}) loses less."
        )


def _about_saves(history: History) -> Iterator[str]:
    failed = history.failed_saves
    if not failed:
        return
    saved = max((checkpoint.step for checkpoint in history.checkpoints), default=None)
    newest = "none was" if saved is None else f"the newest is of step {saved:,}"
    yield (
        f"{len(failed)} checkpoint{'s were' if len(failed) > 1 else ' was'} not saved, the last of "
        f"step {failed[-1].step:,}: {failed[-1].detail}; {newest}: headrace storage PATH shows "
        "what is left of the disk."
    )


def _about_waiting(history: History, time: TimeByCause) -> Iterator[str]:
    wall_s = _wall_s(history)
    in_steps_s = time.useful_s + time.seconds[Cause.CHECKPOINT]
    if history.attempts and not history.steps:
        yield (
            "The program reports no steps, so its time cannot be split: "
            "headrace.train.session() or run.log() tells them."
        )
    if in_steps_s and time.seconds[Cause.DATA] > 0.1 * in_steps_s:
        yield (
            f"Steps waited for data {_percent(time.seconds[Cause.DATA] / in_steps_s)} of their "
            "time: stage the data on local disk (data: [{source: .., stage: nvme}])."
        )
    if wall_s and time.seconds[Cause.CHECKPOINT] > 0.05 * wall_s:
        yield (
            f"Checkpoints held training for {_percent(time.seconds[Cause.CHECKPOINT] / wall_s)} "
            "of the time: save less often (checkpoint: {every: ..})."
        )


def _about_devices(history: History, used: Usage) -> Iterator[str]:
    if used.samples < _SAMPLES_MIN:
        return
    ranks = history.attempts[-1].world_size if history.attempts else 1
    if used.gpu_ratio is not None and used.gpu_ratio < _GPU_IDLE:
        yield (
            f"GPU use was {_percent(used.gpu_ratio)} of {used.gpus}: "
            "check that the program uses them, or ask for fewer (gpus_per_node)."
        )
    elif used.gpu_ratio is not None and used.gpu_ratio < _GPU_LOW:
        yield f"GPU use was {_percent(used.gpu_ratio)} of {used.gpus}: a larger batch may help."
    if used.cpu_ratio is not None and used.cpu_ratio < _CPU_LOW and not used.gpus:
        busy = used.cpu_ratio * used.cpus
        wanted = max(1, math.ceil(1.2 * busy / max(1, ranks)))
        if wanted * ranks < used.cpus:
            yield (
                f"CPU use was {_percent(used.cpu_ratio)} of {used.cpus} cores: "
                f"ask for cpus_per_rank: {wanted}."
            )
    given = used.memory_given_bytes
    if given and given > 4 * _GIB and used.memory_peak_bytes < 0.5 * given:
        wanted = max(1, math.ceil(1.25 * used.memory_peak_bytes / _GIB))
        yield (
            f"Memory peaked at {used.memory_peak_bytes / _GIB:.1f} of {given / _GIB:.0f} GiB "
            f"a node: ask for memory: {wanted}G."
        )


def _wall_s(history: History) -> float:
    return history.end_s - history.begin_s


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.0f} %"
