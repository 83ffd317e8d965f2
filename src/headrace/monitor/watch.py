"""What a run does now, followed from its directory: new lines are read once, old ones never again.

``Follower`` reads; ``Frame`` is what a screen needs. Memory stays bounded however long the run is.
"""

import contextlib
from collections import deque
from pathlib import Path

from headrace.core.events import (
    AttemptEnded,
    AttemptStarted,
    Ended,
    Entry,
    LimitMoved,
    Metric,
    NodeSample,
    PhaseChanged,
    Requeued,
    SessionEnded,
    Staged,
    Staging,
    Started,
    StepMetric,
    Submitted,
)
from headrace.core.order import Order
from headrace.core.records import DecodeError, Record, decode, read_record, replace
from headrace.core.rundir import RunDir
from headrace.core.states import State
from headrace.monitor.history import RankView, read_metrics
from headrace.monitor.sentences import sentence
from headrace.monitor.tail import Tail

_LOSSES = 2000
_RATES = 30
_EVENTS = 8


class Said(Record, frozen=True, kw_only=True):
    """One event in words."""

    time_s: float
    text: str


class NodeNow(Record, frozen=True, kw_only=True):
    node: str
    sample: NodeSample


class Frame(Record, frozen=True, kw_only=True):
    """All a screen shows of a run at ``now_s``, which stands still when the run has ended.

    ``elapsed_s`` counts from the first start. ``samples_per_s`` is that of the last steps;
    ``losses`` the last ones of rank 0, oldest first.
    """

    run_id: str
    now_s: float
    state: str
    detail: str
    attempt: int
    elapsed_s: float
    limit_s: float | None
    step: int
    total_steps: int | None
    loss: float | None
    losses: tuple[float, ...]
    samples_per_s: float | None
    nodes: tuple[NodeNow, ...]
    ranks: tuple[RankView, ...]
    said: tuple[Said, ...]

    @property
    def is_final(self) -> bool:
        return self.state in State.__members__ and State(self.state).is_final


class Follower:
    """Follows one run directory; it need not hold anything yet."""

    def __init__(self, folder: Path) -> None:
        self._run = RunDir(folder)
        self._tails: dict[Path, Tail] = {}
        self._state: str = State.PENDING
        self._detail = ""
        self._attempt = -1
        self._started_s: float | None = None
        self._ended_s: float | None = None
        self._ranks: dict[int, RankView] = {}
        self._nodes: dict[str, NodeNow] = {}
        self._losses: deque[tuple[int, int, float]] = deque(maxlen=_LOSSES)
        self._recent: deque[StepMetric] = deque(maxlen=_RATES)
        self._said: deque[Said] = deque(maxlen=_EVENTS)
        self._staging: dict[tuple[str, str], Said] = {}
        self._limit_s: float | None = None
        self._total_steps: int | None = None
        self._order_read = False

    def frame(self, now_s: float) -> Frame:
        """Read what is new and show everything."""
        self._read_order()
        for entry in self._new_entries():
            self._hear(entry)
        for attempt, node, metric in self._new_metrics():
            if isinstance(metric, StepMetric) and metric.rank == 0:
                self._add_loss(attempt, metric)
            if attempt == self._attempt:
                self._measure(node, metric)
        until_s = now_s if self._ended_s is None else self._ended_s
        last = self._recent[-1] if self._recent else None
        loss = last.values.get("loss") if last else None
        return Frame(
            run_id=self._run.run_id,
            now_s=until_s,
            state=self._state,
            detail=self._detail,
            attempt=max(0, self._attempt),
            elapsed_s=0.0 if self._started_s is None else max(0.0, until_s - self._started_s),
            limit_s=self._limit_s,
            step=last.step if last else 0,
            total_steps=self._total_steps,
            loss=loss,
            losses=tuple(loss for _, _, loss in self._losses),
            samples_per_s=self._samples_per_s(),
            nodes=tuple(self._nodes[name] for name in sorted(self._nodes)),
            ranks=tuple(self._ranks[rank] for rank in sorted(self._ranks)),
            said=tuple(self._said),
        )

    def _samples_per_s(self) -> float | None:
        if len(self._recent) < 2:
            return None
        first, last = self._recent[0], self._recent[-1]
        length_s = last.time_s - first.time_s
        return (last.samples - first.samples) / length_s if length_s > 0 else None

    def _read_order(self) -> None:
        if self._order_read:
            return
        try:
            order = read_record(self._run.order, Order)
        except (OSError, DecodeError):
            return
        self._order_read = True
        self._limit_s = order.time_limit_s
        self._total_steps = order.session.until_steps

    def _new_entries(self) -> list[Entry]:
        found = []
        for path in self._run.events.glob("*.jsonl"):
            for line in self._tail(path).lines():
                try:
                    found.append(decode(line, Entry))
                except DecodeError:
                    continue
        return sorted(found, key=lambda entry: (entry.time_s, entry.seq))

    def _new_metrics(self) -> list[tuple[int, str, Metric]]:
        """(attempt, node, metric), attempts in order."""
        found = []
        for attempt in range(self._attempt + 1):
            for path in sorted((self._run.attempt(attempt) / "nodes").glob("*/metrics.jsonl")):
                new = read_metrics(self._tail(path).lines())
                found += [(attempt, path.parent.name, metric) for metric in new]
        return found

    def _add_loss(self, attempt: int, metric: StepMetric) -> None:
        """A later attempt takes the place of what it does again; a latecomer is left out."""
        loss = metric.values.get("loss")
        if loss is None or (self._losses and attempt < self._losses[-1][0]):
            return
        while self._losses and self._losses[-1][1] >= metric.step:
            self._losses.pop()
        self._losses.append((attempt, metric.step, loss))

    def _tail(self, path: Path) -> Tail:
        return self._tails.setdefault(path, Tail(path))

    def _hear(self, entry: Entry) -> None:
        text = sentence(entry.event)
        if text is not None:
            said = Said(time_s=entry.time_s, text=text)
            if isinstance(entry.event, Staging | Staged):  # how far it has come, in one line
                key = (entry.event.node, entry.event.source)
                with contextlib.suppress(ValueError):
                    self._said.remove(self._staging.get(key, said))
                self._staging[key] = said
            self._said.append(said)
        match entry.event:
            case Submitted() | Requeued():
                self._state, self._ended_s = State.PENDING, None
            case Started():
                self._run_from(entry.time_s)
            case AttemptStarted(world_size=size) if entry.attempt > self._attempt:
                self._run_from(entry.time_s)
                self._begin_attempt(entry.attempt, size)
            case AttemptEnded(detail=detail):
                self._detail = detail
            case Ended(state=state, detail=detail):
                self._state, self._detail, self._ended_s = state, detail, entry.time_s
            case LimitMoved(limit_s=limit_s):
                self._limit_s = limit_s - (self._started_s or entry.time_s)
            case PhaseChanged(rank=rank, phase=phase, step=step):
                self._heard_of(rank, step, entry.time_s, phase)
            case SessionEnded(rank=rank, step=step):
                self._heard_of(rank, step, entry.time_s, "ended")
            case _:
                pass

    def _run_from(self, time_s: float) -> None:
        self._state = State.RUNNING
        if self._started_s is None:
            self._started_s = time_s

    def _begin_attempt(self, attempt: int, size: int) -> None:
        self._attempt, self._detail = attempt, ""
        self._nodes.clear()
        self._recent.clear()
        self._ranks = {
            rank: RankView(rank=rank, phase=None, step=None, heard_s=None) for rank in range(size)
        }

    def _heard_of(self, rank: int, step: int, time_s: float, phase: str | None) -> None:
        view = self._ranks.get(rank)
        if view is not None:
            self._ranks[rank] = replace(
                view, step=step, heard_s=max(time_s, view.heard_s or 0.0), phase=phase or view.phase
            )

    def _measure(self, node: str, metric: Metric) -> None:
        if isinstance(metric, NodeSample):
            self._nodes[node] = NodeNow(node=node, sample=metric)
            return
        view = self._ranks.get(metric.rank)
        if view is not None and metric.time_s >= (view.heard_s or 0.0):
            self._heard_of(metric.rank, metric.step, metric.time_s, None)
        if metric.rank == 0:
            self._recent.append(metric)
