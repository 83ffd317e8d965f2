"""Checkpoints of a session: all ranks write their parts of one, and restore the same one.

A failed or slow save is reported and training goes on. Files, verification and retention are
``headrace.checkpoint``'s; names and content of the objects are ``train.state``'s.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from headrace import checkpoint
from headrace.checkpoint.memory import Private, Rooms, Shared
from headrace.checkpoint.retention import METRICS, Keep
from headrace.core.events import CheckpointFailed, CheckpointSaved, Noted, Restored
from headrace.core.records import DecodeError, Record, decode, encode, to_builtins
from headrace.train.environment import Environment
from headrace.train.errors import (
    CheckpointMismatch,
    RunDirUnusable,
    UnsavableState,
    UntrackedParameter,
)
from headrace.train.finding import Found, find
from headrace.train.group import Group
from headrace.train.interval import Cost
from headrace.train.pending import Logged, read
from headrace.train.reporter import Reporter
from headrace.train.state import Source, Tracked, capture, layout_of, restore, same_on_all

PATIENCE_S = 120.0
"""For the last save of a run, at least; longer where saving has been slow."""
_TIMES = 10.0  # the last one's time
_SLOW_BYTES_S = 20e6
_DEAD_S = 10.0
_BEAT_S = 1.0


class Position(Record, frozen=True, kw_only=True):
    """Where training is. ``data``: the JSON of a ``data.State``; ``expected``: see
    ``train.step``."""

    step: int
    samples: int
    loss: float | None
    expected: tuple[float, ...]
    world_size: int
    data: object


class Saving:
    """``start``: what to restore when there is no checkpoint in ``root`` yet. ``memory``: where the
    staging memory is to lie that a restart on this node loads from. ``newest_step``: the last one
    restored, or staged to be saved; the same on all ranks. ``cost``: of the last save, on rank 0.
    """

    def __init__(
        self,
        root: Path,
        *,
        keep: Keep,
        group: Group,
        reporter: Reporter,
        start: Path | None = None,
        memory: Shared | None = None,
    ) -> None:
        self.newest_step: int | None = None
        self.cost: Cost | None = None
        self._start = start
        self._root = root
        self._keep = keep
        self._memory = memory
        self._staged_bytes = 0
        self._metric: Logged | None = None
        self._group = group
        self._reporter = reporter
        self._saver: checkpoint.Saver | None = None

    def restore(self, tracked: Tracked) -> Position | None:
        """Restore the newest good checkpoint, the same on all ranks; None when there is none.

        Nothing is changed in ``tracked`` before every rank has all that it needs. Raise
        ``CheckpointMismatch``, ``CheckpointUnseen``, ``RunDirUnusable``, ``NoneUsable``.
        """
        began_s = time.monotonic()
        layout = layout_of(tracked)
        memory = None if self._memory is None else self._memory.place
        try:
            found = find(self._root, memory, group=self._group, layout=layout, start=self._start)
        except OSError as error:
            raise RunDirUnusable(self._root, error) from error
        for text in found.warnings:
            self._warn(text)
        self._open_saver(found)
        loaded = found.loaded
        if loaded is None:
            return None
        objects, position = _of_session(loaded)
        source = Source(loaded.tensors, loaded.boxes, layout)
        weights_only = loaded.state.get("weights_only") is True
        restore(tracked, source, objects, path=str(loaded.path), weights_only=weights_only)
        self.newest_step = loaded.step
        self._reporter.say(
            Restored(
                rank=self._group.rank,
                step=loaded.step,
                path=str(loaded.path),
                tier="disk" if found.slot is None else "memory",
                took_s=time.monotonic() - began_s,
            )
        )
        return position

    def _open_saver(self, found: Found) -> None:
        rooms: Rooms = Private() if self._memory is None else self._memory
        if found.slot is not None and self._memory is not None:
            rooms = self._memory.after(found.slot)
        try:
            self._saver = checkpoint.Saver(
                self._root, keep=self._keep, damaged=found.damaged, ranks=self._group, rooms=rooms
            )
        except OSError as error:
            raise RunDirUnusable(self._root, error) from error

    def prepare(self, tracked: Tracked, position: Position) -> None:
        """Take the memory for saves, or say that there is none. Raise for what cannot be saved
        now, not at the first save: ``UnsavableState``, ``UntrackedParameter``, ``NotSaveable``."""
        if self._saver is None:
            return
        try:
            reason = self._saver.prepare(_snapshot(tracked, position, {}))
        except (OSError, MemoryError, RuntimeError) as error:
            self._warn(f"no memory for checkpoints: {error}")
            return
        if reason and self._memory is not None and self._group.rank == 0:
            text = f"restarts on the same node load from the disk, not from memory: {reason}"
            self._reporter.say(Noted(level="info", text=text))

    def hear(self, values: Mapping[str, Logged]) -> None:
        """What was logged: the metric by which the best checkpoint is known may be among it."""
        if self._keep.best is not None:
            self._metric = values.get(self._keep.best.metric, self._metric)

    def save(self, tracked: Tracked, position: Position, *, must: bool) -> None:
        """Copy the state; it is written behind. ``must``: wait for an earlier save to end first,
        unless that hangs."""
        if self._saver is None:
            return
        if must:
            self._wait(position.step)
        snapshot = self._snapshot(tracked, position)
        if snapshot is None:
            return
        staged = self._saver.stage(snapshot)
        if isinstance(staged, checkpoint.Staged):
            self.newest_step, self._staged_bytes = staged.step, staged.size_bytes
        elif self._group.rank == 0:
            self._warn(f"no checkpoint of step {staged.step}: {staged.reason}")

    def _snapshot(self, tracked: Tracked, position: Position) -> checkpoint.Snapshot | None:
        """None, on all ranks, when the state of one has become what cannot be saved."""
        snapshot, problem = None, ""
        try:
            snapshot = _snapshot(tracked, position, self._metrics())
        except (UnsavableState, UntrackedParameter) as error:
            problem = error.problem
        failed = self._group.lowest_rank(snapshot is None)
        if failed is None:
            return snapshot
        if self._group.rank == 0:
            self._failed(position.step, problem or f"rank {failed} cannot save its state")
        elif problem:
            self._warn(f"this rank's part of step {position.step}: {problem}")
        return None

    def _metrics(self) -> dict[str, float]:
        best = self._keep.best
        return {} if best is None or self._metric is None else {best.metric: read(self._metric)}

    def poll(self) -> None:
        """Report what has been saved. Never waits."""
        for ended in () if self._saver is None else self._saver.poll():
            match ended:
                case checkpoint.Saved():
                    self._reporter.say(
                        CheckpointSaved(
                            rank=self._group.rank,
                            step=ended.step,
                            path=str(ended.path),
                            size_bytes=ended.size_bytes,
                            stall_s=ended.stall_s,
                            durable_s=ended.durable_s,
                        )
                    )
                    self.cost = Cost(ended.stall_s, ended.durable_s)
                    if ended.note:
                        self._warn(ended.note)
                case checkpoint.Failed() if self._group.rank > 0:
                    self._warn(f"this rank's part of step {ended.step}: {ended.reason}")
                case checkpoint.Failed():
                    self._failed(ended.step, ended.reason)

    def close(self, step: int, *, failed: bool = False) -> None:
        """Wait for the save in flight, and report it. One that hangs is given up. ``failed``: other
        ranks may be dead."""
        if self._saver is None:
            return
        if failed:
            self._saver.limit_patience(_DEAD_S)
        waited_s = self._wait(step)
        self._saver.give_up(
            f"it is not on the disk after {waited_s:.0f} s: is the storage gone? The program ends "
            "without it"
        )
        self.poll()

    def _wait(self, step: int) -> float:
        """For the save in flight, saying that this rank is alive, as long as may be hoped for.
        Return how long that was."""
        assert self._saver is not None
        cost_s = 0.0 if self.cost is None else self.cost.durable_s
        patience_s = max(PATIENCE_S, _TIMES * cost_s, self._staged_bytes / _SLOW_BYTES_S)
        began_s = time.monotonic()
        while not self._saver.wait(min(_BEAT_S, patience_s)):
            self._reporter.beat(step)
            if time.monotonic() - began_s > patience_s:
                break
        return time.monotonic() - began_s

    def _failed(self, step: int, reason: str) -> None:
        self._reporter.say(CheckpointFailed(rank=self._group.rank, step=step, detail=reason))

    def _warn(self, text: str) -> None:
        self._reporter.say(Noted(level="warning", text=text))


def shared_memory(environment: Environment, group: Group) -> Shared | None:
    """What the agent offers, within what the job file allows."""
    place = environment.memory
    if place is None or not place.is_dir():
        return None
    return Shared(
        place,
        rank=group.rank,
        world_size=group.world_size,
        limit_bytes=environment.settings.checkpoint_memory,
    )


def _of_session(loaded: checkpoint.Loaded) -> tuple[dict[str, Any], Position]:
    """The tracked objects and the position. Raise ``CheckpointMismatch`` for what no session saved,
    such as a snapshot of a program's own."""
    try:
        objects = cast(dict[str, Any], loaded.state["objects"])
        return objects, decode(encode(loaded.state["session"]), Position)
    except (LookupError, DecodeError) as error:
        raise CheckpointMismatch(str(loaded.path), "it was not saved by a session") from error


def _snapshot(
    tracked: Tracked, position: Position, metrics: Mapping[str, float]
) -> checkpoint.Snapshot:
    tensors, objects = capture(tracked)
    state = {"session": to_builtins(position), "objects": objects, METRICS: dict(metrics)}
    return checkpoint.Snapshot(
        position.step,
        tensors,
        cast(dict[str, checkpoint.Json], state),
        same_on_all=same_on_all(tracked, tensors),
    )
