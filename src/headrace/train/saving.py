"""Checkpoints of a session: rank 0 writes, all ranks restore the same one.

A failed or slow save is reported and training goes on. Files, verification and retention are
``headrace.checkpoint``'s; names and content of the objects are ``train.state``'s.
"""

from pathlib import Path
from typing import Any, cast

from headrace import checkpoint
from headrace.checkpoint.folder import step_name
from headrace.checkpoint.retention import Keep
from headrace.core.events import CheckpointFailed, CheckpointSaved, Noted, Restored
from headrace.core.records import Record, decode, encode, to_builtins
from headrace.train.errors import CheckpointUnseen, RunDirUnusable
from headrace.train.group import Group
from headrace.train.reporter import Reporter
from headrace.train.state import Tracked, capture, restore

_NO_STEP = -1
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
    """``newest_step``: the last one restored, or (on rank 0) staged to be saved."""

    def __init__(self, root: Path, *, keep: int, group: Group, reporter: Reporter) -> None:
        self.newest_step: int | None = None
        self._root = root
        self._keep = keep
        self._group = group
        self._reporter = reporter
        self._saver: checkpoint.Saver | None = None

    def restore(self, tracked: Tracked) -> Position | None:
        """Restore the newest good checkpoint, the same on all ranks; None when there is none.

        Raise ``CheckpointMismatch``, ``CheckpointUnseen``, ``RunDirUnusable``, or what
        ``checkpoint.load_newest`` raises.
        """
        found = self._find()
        if found is None:
            return None
        objects = cast(dict[str, Any], found.state["objects"])
        restore(tracked, found.tensors, objects, path=str(found.path))
        self.newest_step = found.step
        self._reporter.say(Restored(rank=self._group.rank, step=found.step, path=str(found.path)))
        return decode(encode(found.state["session"]), Position)

    def _find(self) -> checkpoint.Loaded | None:
        """Rank 0 decides, the others load the same."""
        if self._group.rank == 0:
            found = checkpoint.load_newest(self._root) if self._root.is_dir() else None
            skipped = found.skipped if found is not None else ()
            for path, reason in skipped:
                self._warn(f"{path.name} is damaged and was passed over: {reason}")
            try:
                self._saver = checkpoint.Saver(
                    self._root, keep=Keep(self._keep), damaged=[path for path, _ in skipped]
                )
            except OSError as error:
                raise RunDirUnusable(self._root, error) from error
            self._group.from_first(_NO_STEP if found is None else found.step)
            return found
        step = self._group.from_first(_NO_STEP)
        if step == _NO_STEP:
            return None
        path = self._root / step_name(step)
        if not path.is_dir():
            raise CheckpointUnseen(rank=self._group.rank, step=step, root=self._root)
        return checkpoint.load(path)

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
                case checkpoint.Failed():
                    self._reporter.say(
                        CheckpointFailed(
                            rank=self._group.rank, step=ended.step, detail=ended.reason
                        )
                    )

    def close(self, step: int) -> None:
        """Wait for the save in flight, saying that this rank is alive, and report it."""
        if self._saver is not None:
            while not self._saver.wait(_BEAT_S):
                self._reporter.beat(step)
            self._saver.close()
            self.poll()

    def _warn(self, text: str) -> None:
        self._reporter.say(Noted(level="warning", text=text))


def _snapshot(tracked: Tracked, position: Position) -> checkpoint.Snapshot:
    tensors, objects = capture(tracked)
    state = {"session": to_builtins(position), "objects": objects}
    return checkpoint.Snapshot(position.step, tensors, cast(dict[str, checkpoint.Json], state))
