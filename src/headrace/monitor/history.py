"""All that a run directory tells about a run, as one frozen record.

Reading forgives: torn lines, missing files, kinds of events not known here, runs in progress and
programs that report nothing give a shorter history, never an error. ``History`` only orders what
was written; sums and judgements are ``headrace.monitor.report``'s.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from headrace.core.events import (
    AttemptEnded,
    AttemptStarted,
    CheckpointFailed,
    CheckpointSaved,
    Ended,
    Entry,
    Metric,
    NodeFinding,
    NodeSample,
    PhaseChanged,
    Placed,
    Requeued,
    SessionEnded,
    Started,
    StepMetric,
    Submitted,
    decode_metric,
)
from headrace.core.order import Order, Placement
from headrace.core.records import DecodeError, R, Record, read_record, replace
from headrace.core.rundir import RunDir, merged_events, read_lines
from headrace.core.states import State


class Span(Record, frozen=True, kw_only=True):
    """The run was in ``state`` from ``start_s`` to ``end_s``."""

    state: str
    start_s: float
    end_s: float
    placed: tuple[Placed, ...] = ()


class Attempt(Record, frozen=True, kw_only=True):
    """One start of all ranks. ``outcome`` is None while it runs. ``end_s``: the last time heard."""

    number: int
    start_s: float
    end_s: float
    outcome: str | None
    detail: str
    world_size: int
    nodes: tuple[str, ...]
    cpus: int
    gpus: int


class PhasePoint(Record, frozen=True, kw_only=True):
    """Rank 0 entered ``phase``."""

    attempt: int
    time_s: float
    phase: str


class Step(Record, frozen=True, kw_only=True):
    """One optimizer step as rank 0 reported it. ``repeated``: a later attempt did it again."""

    attempt: int
    metric: StepMetric
    repeated: bool


class NodeSeries(Record, frozen=True, kw_only=True):
    """Samples of one node in one attempt, in the order they were taken."""

    attempt: int
    node: str
    samples: tuple[NodeSample, ...]


class Checkpoint(Record, frozen=True, kw_only=True):
    """A checkpoint of all ranks: sizes added up, the longest stall and time to durable."""

    attempt: int
    time_s: float
    step: int
    path: str
    size_bytes: int
    stall_s: float
    durable_s: float


class RankView(Record, frozen=True, kw_only=True):
    """What was last heard of a rank in the last attempt; None is nothing."""

    rank: int
    phase: str | None
    step: int | None
    heard_s: float | None


class History(Record, frozen=True, kw_only=True):
    """``end_s`` is the final event's time or, in progress, the last time anything was written.

    ``steps`` are in the order they were done; those with ``repeated`` unset are, sorted by number,
    the run's series. ``total_steps`` is what the job file asked for, where it says.
    """

    run_id: str
    user: str
    job: str
    begin_s: float
    end_s: float
    state: str
    detail: str
    spans: tuple[Span, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    phases: tuple[PhasePoint, ...] = ()
    steps: tuple[Step, ...] = ()
    nodes: tuple[NodeSeries, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    failed_saves: tuple[CheckpointFailed, ...] = ()
    ranks: tuple[RankView, ...] = ()
    findings: tuple[NodeFinding, ...] = ()
    total_steps: int | None = None
    entries: int = 0

    @property
    def is_final(self) -> bool:
        return self.state in State.__members__ and State(self.state).is_final

    @property
    def kept_steps(self) -> list[StepMetric]:
        """The run's series: each step once, ascending."""
        kept = [step.metric for step in self.steps if not step.repeated]
        return sorted(kept, key=lambda metric: metric.step)

    @property
    def last_step(self) -> int:
        """The highest step known to be done; the metrics of a killed rank's last ones get lost."""
        told = [step.metric.step for step in self.steps]
        saved = [checkpoint.step for checkpoint in self.checkpoints]
        heard = [view.step for view in self.ranks if view.step is not None]
        return max((*told, *saved, *heard), default=0)

    @property
    def restarts(self) -> int:
        return max(0, len(self.attempts) - 1)


def load(folder: Path) -> History:
    """Read the run directory ``folder``."""
    run = RunDir(folder)
    metrics = {
        (attempt, node.name): read_metrics(read_lines(node / "metrics.jsonl"))
        for attempt in run.attempts()
        for node in sorted((run.attempt(attempt) / "nodes").glob("*"))
    }
    placements = {
        attempt: _record(run.attempt(attempt) / "placement.json", Placement)
        for attempt in run.attempts()
    }
    order = _record(run.order, Order)
    return compose(
        run_id=run.run_id,
        job=run.job.read_text(errors="replace") if run.job.is_file() else "",
        entries=[entry for _, entry in merged_events(run)],
        metrics=metrics,
        placements=placements,
        total_steps=order.session.until_steps if order else None,
    )


def read_metrics(lines: Iterable[bytes]) -> list[Metric]:
    """Metrics of whole lines; what does not decode is left out."""
    found = []
    for line in lines:
        try:
            found.append(decode_metric(line))
        except DecodeError:
            continue
    return found


def compose(
    *,
    run_id: str,
    job: str,
    entries: Sequence[Entry],
    metrics: dict[tuple[int, str], list[Metric]],
    placements: dict[int, Placement | None],
    total_steps: int | None,
) -> History:
    """The history that ``entries`` (merged) and ``metrics`` (by attempt and node) tell. Pure."""
    times = [entry.time_s for entry in entries]
    times += [metric.time_s for series in metrics.values() for metric in series]
    begin_s = min(times, default=0.0)
    ended = next((e for e in reversed(entries) if isinstance(e.event, Ended)), None)
    end_s = max([entry.time_s for entry in entries] if ended else times, default=0.0)
    attempts = _attempts(entries, metrics, placements, end_s)
    spans = _spans(entries, begin_s, end_s)
    final = ended.event if ended and isinstance(ended.event, Ended) else None
    user = next((e.event.user for e in entries if isinstance(e.event, Submitted)), "")
    return History(
        run_id=run_id,
        user=user,
        job=job,
        begin_s=begin_s,
        end_s=end_s,
        state=final.state if final else (spans[-1].state if spans else State.PENDING),
        detail=final.detail if final else (attempts[-1].detail if attempts else ""),
        spans=spans,
        attempts=attempts,
        phases=_phases(entries),
        steps=_steps(metrics),
        nodes=tuple(
            NodeSeries(attempt=attempt, node=node, samples=samples)
            for (attempt, node), series in sorted(metrics.items())
            if (samples := tuple(m for m in series if isinstance(m, NodeSample)))
        ),
        checkpoints=_checkpoints(entries),
        failed_saves=tuple(e.event for e in entries if isinstance(e.event, CheckpointFailed)),
        ranks=_ranks(entries, metrics, attempts),
        findings=tuple(e.event for e in entries if isinstance(e.event, NodeFinding)),
        total_steps=total_steps,
        entries=len(entries),
    )


def _record(path: Path, kind: type[R]) -> R | None:
    try:
        return read_record(path, kind)
    except (OSError, DecodeError):
        return None


def _spans(entries: Sequence[Entry], begin_s: float, end_s: float) -> tuple[Span, ...]:
    """States over time, without gaps from ``begin_s`` to ``end_s``.

    Also an attempt without a ``Started`` before it is RUNNING: not every engine writes one.
    """
    marks: list[tuple[float, str, tuple[Placed, ...]]] = []
    for entry in sorted(entries, key=lambda entry: entry.time_s):
        match entry.event:
            case Submitted() | Requeued():
                marks.append((entry.time_s, State.PENDING, ()))
            case Started(placed=placed):
                marks.append((entry.time_s, State.RUNNING, placed))
            case AttemptStarted() if not marks or marks[-1][1] != State.RUNNING:
                marks.append((entry.time_s, State.RUNNING, ()))
            case _:
                pass
    if marks and marks[0][0] > begin_s:
        marks.insert(0, (begin_s, State.PENDING, ()))
    if not marks:
        return ()
    ends = [mark[0] for mark in marks[1:]] + [end_s]
    return tuple(
        Span(state=state, start_s=start_s, end_s=max(start_s, stop_s), placed=placed)
        for (start_s, state, placed), stop_s in zip(marks, ends, strict=True)
    )


def _attempts(
    entries: Sequence[Entry],
    metrics: dict[tuple[int, str], list[Metric]],
    placements: dict[int, Placement | None],
    end_s: float,
) -> tuple[Attempt, ...]:
    """Attempts in order. One without an end lasts until the next begins, the last until the end."""
    starts = {
        e.attempt: (e.time_s, e.event) for e in entries if isinstance(e.event, AttemptStarted)
    }
    stops = {e.attempt: (e.time_s, e.event) for e in entries if isinstance(e.event, AttemptEnded)}
    numbers = sorted(starts)
    found = []
    for position, number in enumerate(numbers):
        start_s, start = starts[number]
        follows = numbers[position + 1 :]
        last_s = starts[follows[0]][0] if follows else end_s
        stop_s, stop = stops.get(number, (last_s, None))
        placement = placements.get(number)
        nodes = placement.nodes if placement else ()
        found.append(
            Attempt(
                number=number,
                start_s=start_s,
                end_s=max(start_s, stop_s),
                outcome=stop.outcome if stop else None,
                detail=stop.detail if stop else "",
                world_size=start.world_size,
                nodes=start.nodes,
                cpus=sum(len(node.cpus) for node in nodes),
                gpus=sum(len(node.gpus) for node in nodes),
            )
        )
    return tuple(found)


def _phases(entries: Sequence[Entry]) -> tuple[PhasePoint, ...]:
    return tuple(
        PhasePoint(attempt=entry.attempt, time_s=entry.time_s, phase=entry.event.phase)
        for entry in entries
        if isinstance(entry.event, PhaseChanged) and entry.event.rank == 0
    )


def _steps(metrics: dict[tuple[int, str], list[Metric]]) -> tuple[Step, ...]:
    """Rank 0's steps in the order of attempt and time; the last attempt to do a step keeps it."""
    done = [
        (attempt, metric)
        for (attempt, _), series in sorted(metrics.items())
        for metric in series
        if isinstance(metric, StepMetric) and metric.rank == 0
    ]
    done.sort(key=lambda item: (item[0], item[1].time_s, item[1].step))
    keeper = {metric.step: position for position, (_, metric) in enumerate(done)}
    return tuple(
        Step(attempt=attempt, metric=metric, repeated=keeper[metric.step] != position)
        for position, (attempt, metric) in enumerate(done)
    )


def _checkpoints(entries: Sequence[Entry]) -> tuple[Checkpoint, ...]:
    found: dict[tuple[int, int], Checkpoint] = {}
    for entry in entries:
        if not isinstance(saved := entry.event, CheckpointSaved):
            continue
        key = (entry.attempt, saved.step)
        before = found.get(key)
        found[key] = Checkpoint(
            attempt=entry.attempt,
            time_s=entry.time_s,
            step=saved.step,
            path=saved.path,
            size_bytes=saved.size_bytes + (before.size_bytes if before else 0),
            stall_s=max(saved.stall_s, before.stall_s if before else 0.0),
            durable_s=max(saved.durable_s, before.durable_s if before else 0.0),
        )
    return tuple(sorted(found.values(), key=lambda checkpoint: checkpoint.time_s))


def _ranks(
    entries: Sequence[Entry],
    metrics: dict[tuple[int, str], list[Metric]],
    attempts: Sequence[Attempt],
) -> tuple[RankView, ...]:
    if not attempts:
        return ()
    last = attempts[-1]
    views = {
        rank: RankView(rank=rank, phase=None, step=None, heard_s=None)
        for rank in range(last.world_size)
    }
    heard: list[tuple[float, int, int, str | None]] = []
    for entry in entries:
        if entry.attempt != last.number:
            continue
        if isinstance(event := entry.event, PhaseChanged):
            heard.append((entry.time_s, event.rank, event.step, event.phase))
        elif isinstance(event, SessionEnded):
            heard.append((entry.time_s, event.rank, event.step, "ended"))
    for (attempt, _), series in metrics.items():
        if attempt == last.number:
            heard += [(m.time_s, m.rank, m.step, None) for m in series if isinstance(m, StepMetric)]
    for heard_s, number, at_step, entered in sorted(heard, key=lambda item: item[0]):
        if (view := views.get(number)) is not None:
            views[number] = replace(
                view, heard_s=heard_s, step=at_step, phase=entered or view.phase
            )
    return tuple(views.values())
