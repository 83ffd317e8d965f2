"""Checkpoints of a session: all ranks write their parts of one, and restore the same one.

A failed or slow save is reported and training goes on. Files, verification and retention are
``headrace.checkpoint``'s; names and content of the objects are ``train.state``'s.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from headrace import checkpoint
from headrace.checkpoint.errors import CheckpointNotFound, DamagedCheckpoint, NoneUsable
from headrace.checkpoint.folder import committed, recover, step_name, step_of
from headrace.checkpoint.retention import Keep
from headrace.core.events import CheckpointFailed, CheckpointSaved, Noted, Restored
from headrace.core.records import Record, decode, encode, to_builtins
from headrace.train.errors import CheckpointUnseen, RunDirUnusable
from headrace.train.group import Group
from headrace.train.layout import Layout
from headrace.train.reporter import Reporter
from headrace.train.state import Source, Tracked, capture, layout_of, restore, same_on_all

_NO_STEP = -1
_BEAT_S = 1.0
_PATIENCE_FAILED_S = 10.0


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
    """``start``: what to restore when there is no checkpoint in ``root`` yet. ``newest_step``: the
    last one restored, or staged to be saved; the same on all ranks."""

    def __init__(
        self, root: Path, *, keep: int, group: Group, reporter: Reporter, start: Path | None = None
    ) -> None:
        self.newest_step: int | None = None
        self._start = start
        self._root = root
        self._keep = keep
        self._group = group
        self._reporter = reporter
        self._saver: checkpoint.Saver | None = None

    def restore(self, tracked: Tracked) -> Position | None:
        """Restore the newest good checkpoint, the same on all ranks; None when there is none.

        Nothing is changed in ``tracked`` before every rank has all that it needs. Raise
        ``CheckpointMismatch``, ``CheckpointUnseen``, ``RunDirUnusable``, ``NoneUsable``.
        """
        layout = layout_of(tracked)
        found, skipped = self._find(layout)
        self._open_saver([path for path, _ in skipped])
        if found is None:
            return None
        objects = cast(dict[str, Any], found.state["objects"])
        source = Source(found.tensors, found.boxes, layout)
        weights_only = found.state.get("weights_only") is True
        restore(tracked, source, objects, path=str(found.path), weights_only=weights_only)
        self.newest_step = found.step
        self._reporter.say(Restored(rank=self._group.rank, step=found.step, path=str(found.path)))
        return decode(encode(found.state["session"]), Position)

    def _find(self, layout: Layout) -> tuple[checkpoint.Loaded | None, list[tuple[Path, str]]]:
        """Rank 0 names one after the other, newest first, until all ranks have loaded their parts
        of the same. Also those passed over, and why."""
        skipped: list[tuple[Path, str]] = []
        paths = self._candidates()
        while True:
            path = next(paths, None)
            step = self._group.from_first(_NO_STEP if path is None else step_of(path) or 0)
            if step == _NO_STEP:
                break
            path = self._root / step_name(step)
            found, reason = self._load(path, layout)
            unseen = self._group.lowest_rank(not path.is_dir())
            if unseen is not None:
                raise CheckpointUnseen(rank=unseen, step=step, root=self._root)
            damaged = self._group.lowest_rank(found is None)
            if damaged is None:
                return found, skipped
            if damaged == self._group.rank:
                self._warn(f"{path.name} is damaged and was passed over: {reason}")
            skipped.append((path, reason or f"rank {damaged} found it damaged"))
        if skipped:
            raise NoneUsable(self._root, skipped)
        return (None if self._start is None else self._load_start(self._start, layout)), skipped

    def _load_start(self, path: Path, layout: Layout) -> checkpoint.Loaded:
        """``path``, or the newest checkpoint in it, on all ranks. Raise ``CheckpointNotFound`` or
        ``DamagedCheckpoint`` on all."""
        inside = committed(path) if step_of(path) is None else []
        path = inside[0] if inside else path
        found, reason = self._load(path, layout)
        if self._group.lowest_rank(not path.is_dir()) is not None:
            raise CheckpointNotFound(path)
        damaged = self._group.lowest_rank(found is None)
        if found is None or damaged is not None:
            raise DamagedCheckpoint(path, reason or f"rank {damaged} found it damaged")
        return found

    def _candidates(self) -> Iterator[Path]:
        """What rank 0 sees, newest first."""
        if self._group.rank == 0 and self._root.is_dir():
            with suppress(OSError):  # of a root that cannot be written to the Saver will tell
                recover(self._root)
            yield from committed(self._root)

    def _load(self, path: Path, layout: Layout) -> tuple[checkpoint.Loaded | None, str]:
        try:
            return checkpoint.load(path, wanted=layout.wanted), ""
        except DamagedCheckpoint as error:
            return None, error.reason
        except CheckpointNotFound:
            return None, "it is not there"

    def _open_saver(self, damaged: list[Path]) -> None:
        try:
            self._saver = checkpoint.Saver(
                self._root, keep=Keep(self._keep), damaged=damaged, ranks=self._group
            )
        except OSError as error:
            raise RunDirUnusable(self._root, error) from error

    def prepare(self, tracked: Tracked, position: Position) -> None:
        """Take the memory for saves. Raise ``UnsavableState`` now, not at the first save."""
        if self._saver is None:
            return
        try:
            self._saver.prepare(_snapshot(tracked, position))
        except (MemoryError, RuntimeError) as error:
            self._warn(f"no memory for checkpoints: {error}")

    def save(self, tracked: Tracked, position: Position, *, must: bool) -> None:
        """Copy the state; it is written behind. ``must``: wait for an earlier save to end first."""
        if self._saver is None:
            return
        staged = self._saver.stage(_snapshot(tracked, position), must=must)
        if isinstance(staged, checkpoint.Skipped):
            if self._group.rank == 0:
                self._warn(f"no checkpoint of step {staged.step}: {staged.reason}")
        else:
            self.newest_step = staged.step

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
                    if ended.note:
                        self._warn(ended.note)
                case checkpoint.Failed() if self._group.rank > 0:
                    self._warn(f"this rank's part of step {ended.step}: {ended.reason}")
                case checkpoint.Failed():
                    self._reporter.say(
                        CheckpointFailed(
                            rank=self._group.rank, step=ended.step, detail=ended.reason
                        )
                    )

    def close(self, step: int, *, failed: bool = False) -> None:
        """Wait for the save in flight, saying that this rank is alive, and report it. ``failed``:
        other ranks have perhaps failed, too, and are hardly waited for."""
        if self._saver is not None:
            if failed:
                self._saver.limit_patience(_PATIENCE_FAILED_S)
            while not self._saver.wait(_BEAT_S):
                self._reporter.beat(step)
            self._saver.close()
            self.poll()

    def _warn(self, text: str) -> None:
        self._reporter.say(Noted(level="warning", text=text))


def _snapshot(tracked: Tracked, position: Position) -> checkpoint.Snapshot:
    tensors, objects = capture(tracked)
    state = {"session": to_builtins(position), "objects": objects}
    return checkpoint.Snapshot(
        position.step,
        tensors,
        cast(dict[str, checkpoint.Json], state),
        same_on_all=same_on_all(tracked, tensors),
    )
