"""Save without stopping training: copy, then write, verify and commit in the background.

A checkpoint is committed by one rename, after every byte is on the disk and has been read back and
compared. A save that fails leaves nothing behind, is reported by ``poll``, and never raises into
training. One save is in flight at a time.

Several ranks save together when each makes a Saver and stages the same steps. They agree in
``stage``, on the caller's thread: all take a snapshot, or none. What follows in the background
needs only the folder they share, and goes wrong for none but this save.
"""

import contextlib
import errno
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from pathlib import Path

from headrace.checkpoint.commit import FIRST, Save, commit, contribute, reason_of
from headrace.checkpoint.errors import DamagedCheckpoint, NotSaveable
from headrace.checkpoint.folder import (
    LATEST,
    committed,
    recover,
    step_name,
    step_of,
    temporary_path,
    this_writer,
)
from headrace.checkpoint.memory import PRIVATE, Rooms
from headrace.checkpoint.retention import Keep, Known, to_delete
from headrace.checkpoint.share import ALONE, Ranks
from headrace.checkpoint.staging import Snapshot, StagedSnapshot, Staging
from headrace.checkpoint.verification import check_files
from headrace.core.records import sync_folder, write_file

SHARD_BYTES = 4 << 30
PATIENCE_S = 600.0
LEAST_PATIENCE_S = 30.0
_TIMES = 10.0  # the slowest of the last saves
_SAVES = 5
_KEEP = Keep()
_NAME_BYTES = 128


@dataclass(frozen=True, kw_only=True)
class Staged:
    """The snapshot was copied and is being written. ``stall_s``: how long that took."""

    step: int
    size_bytes: int
    stall_s: float


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """The snapshot was not taken; training goes on."""

    step: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Saved:
    """Committed and verified. ``stall_s``: the copy. ``durable_s``: from ``stage`` to committed.

    ``note`` is not empty when something after that failed: moving ``latest``, or deleting old ones.
    """

    step: int
    path: Path
    size_bytes: int
    stall_s: float
    durable_s: float
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """Not saved. The checkpoints that were there still are."""

    step: int
    reason: str


class Saver:
    """Saves snapshots below ``root``. Only one Saver, or one of each rank, may write to a root.

    ``keep``: see ``retention.to_delete``. ``damaged``: checkpoints found damaged
    when loading (``Loaded.skipped``), which then do not count as ones to go back to. ``ranks``: who
    saves together; the first commits, reports what was saved, and deletes old ones. It waits for
    the others ten times as long as the slowest of the last saves took, at least
    ``LEAST_PATIENCE_S``, at most and at first ``patience_s``: the writer of another rank may have
    died or hang. ``rooms``: where the memory comes from that snapshots are copied to. Raise
    ``OSError`` when ``root`` cannot be made or read.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        keep: Keep = _KEEP,
        damaged: Collection[Path] = (),
        shard_bytes: int = SHARD_BYTES,
        ranks: Ranks = ALONE,
        patience_s: float = PATIENCE_S,
        rooms: Rooms = PRIVATE,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = Path(root)
        self._keep = keep
        self._now_s = now_s
        self._ranks = ranks
        self._patience_s = patience_s
        self._took_s: deque[float] = deque(maxlen=_SAVES)
        self._saves = 0
        self._known: dict[int, Known] = {}
        self._writer_name = self._agree_on_writer(damaged)
        self._staging = Staging(shard_bytes, ranks, rooms)
        self._flight: tuple[int, Future[Saved | None]] | None = None
        self._reports: list[Saved | Failed] = []

    def _agree_on_writer(self, damaged: Collection[Path]) -> str | None:
        """The first rank looks at the root and says its name; None when it is alone."""
        error: OSError | None = None
        name = b""
        if self._ranks.rank == FIRST:
            try:
                self._open_root(damaged)
            except OSError as failure:
                error = failure
            name = f"{this_writer()}-{time.time_ns()}".encode()
        letters = self._ranks.sum([float(error is not None), *name.ljust(_NAME_BYTES, b"\0")])
        if error is not None:
            raise error
        if letters[0]:
            raise OSError(errno.EIO, "the first rank cannot use it", str(self.root))
        agreed = bytes(map(int, letters[1:])).rstrip(b"\0").decode()
        return agreed if self._ranks.world_size > 1 else None

    def _open_root(self, damaged: Collection[Path]) -> None:
        if not self.root.is_dir():
            self.root.mkdir(parents=True, exist_ok=True)
            sync_folder(self.root.parent)
        recover(self.root)
        self._known = {
            int(step_of(path) or 0): self._look(path, damaged=path in damaged)
            for path in committed(self.root)
        }

    def _look(self, path: Path, *, damaged: bool) -> Known:
        try:
            manifest = check_files(path)
        except (DamagedCheckpoint, OSError):
            return Known(verified=False)
        return Known(verified=not damaged, value=self._value(manifest.state))

    def _value(self, state: Mapping[str, object]) -> float | None:
        return None if self._keep.best is None else self._keep.best.value(state)

    def prepare(self, snapshot: Snapshot) -> str:
        """Allocate and touch memory for snapshots like this one, before training starts.

        Return why it does not outlive this process, where it was to. Raise ``NotSaveable`` for what
        a checkpoint cannot hold: better now than at the first save.
        """
        self.wait()
        return self._staging.prepare(snapshot)

    def stage(self, snapshot: Snapshot, *, must: bool = False) -> Staged | Skipped:
        """Copy ``snapshot`` and return; writing goes on behind. Never raises (but after ``close``).

        While the former save is still being written the snapshot is skipped, unless it ``must`` be
        saved (the last one before leaving): then wait for the former. A copy that fails is
        ``Skipped`` here and ``Failed`` in ``poll``.
        """
        if must:
            self.wait()
        self._collect()
        if self._any(self._flight is not None):
            busy = "another rank" if self._flight is None else f"step {self._flight[0]}"
            return Skipped(step=snapshot.step, reason=f"{busy} is still being written")
        start_s = self._now_s()
        reason = ""
        try:
            staged = self._staging.stage(snapshot)
        except (NotSaveable, OSError, MemoryError, RuntimeError) as error:
            reason = reason_of(error)
        if self._any(bool(reason)):
            reason = reason or "another rank could not copy its share"
            self._reports.append(Failed(step=snapshot.step, reason=reason))
            return Skipped(step=snapshot.step, reason=reason)
        stall_s = self._now_s() - start_s
        self._saves += 1
        self._flight = (snapshot.step, _in_background(self._save, staged, start_s, stall_s))
        return Staged(step=snapshot.step, size_bytes=staged.size_bytes, stall_s=stall_s)

    def _any(self, mine: bool) -> bool:
        """Whether it is so on any rank: the same answer on all."""
        return self._ranks.sum([float(mine)])[0] > 0

    def poll(self) -> list[Saved | Failed]:
        """What has ended since the last call. Never waits."""
        self._collect()
        reports, self._reports = self._reports, []
        return reports

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing is being written. False when that took longer than ``timeout_s``."""
        if self._flight is None:
            return True
        return not wait_for([self._flight[1]], timeout_s).not_done

    def limit_patience(self, patience_s: float) -> None:
        """Wait no longer for other ranks, also in the save in flight: they may have died."""
        self._patience_s = min(self._patience_s, patience_s)

    def _patience(self) -> float:
        if not self._took_s:
            return self._patience_s
        return min(self._patience_s, max(LEAST_PATIENCE_S, _TIMES * max(self._took_s)))

    def close(self) -> None:
        """Wait for the save in flight. ``poll`` still tells how it ended."""
        self.wait()

    def give_up(self, reason: str) -> None:
        """Wait no more for the save in flight, which hangs: leaving the program ends it."""
        if self._flight is not None and not self._flight[1].done():
            self._reports.append(Failed(step=self._flight[0], reason=reason))
            self._flight = None

    def _collect(self) -> None:
        if self._flight is None or not self._flight[1].done():
            return
        step, future = self._flight
        self._flight = None
        error = future.exception()
        report = future.result() if error is None else Failed(step=step, reason=reason_of(error))
        if report is not None:
            self._reports.append(report)

    def _save(self, staged: StagedSnapshot, start_s: float, stall_s: float) -> Saved | None:
        """In the writer thread: None when another rank commits. Raise when this rank failed."""
        name = None if self._writer_name is None else f"{self._writer_name}.{self._saves}"
        save = Save(
            temporary=temporary_path(self.root, staged.step, name),
            ranks=self._ranks,
            patience_s=self._patience,
        )
        if self._ranks.rank != FIRST:
            contribute(save, staged)
            return None
        try:
            manifest = commit(save, staged)
        finally:  # one that was waited for in vain counts, too: it may only be slow
            durable_s = self._now_s() - start_s
            self._took_s.append(durable_s)
        self._known[staged.step] = Known(verified=True, value=self._value(manifest.state))
        return Saved(
            step=staged.step,
            path=self.root / step_name(staged.step),
            size_bytes=manifest.tensor_bytes,
            stall_s=stall_s,
            durable_s=durable_s,
            note=self._after_commit(staged.step),
        )

    def _after_commit(self, step: int) -> str:
        """Move ``latest``, then delete what may go. Return what failed of that; the rest is done
        all the same, or one that cannot be deleted would let the disk fill up."""
        unmoved = self._move_latest(step)
        failed = []
        for old in to_delete(self._known, self._keep, saved=step):
            try:
                _delete(self.root, old)
            except OSError as error:
                failed.append(f"{step_name(old)} was not deleted: {reason_of(error)}")
            else:
                del self._known[old]
        if unmoved and (still := self._move_latest(step)):  # there may be room for it now
            failed.append(still)
        return "; ".join(failed)

    def _move_latest(self, step: int) -> str:
        """Return why it could not be done."""
        try:
            write_file(self.root / LATEST, step_name(step).encode() + b"\n")
        except OSError as error:
            return f"{LATEST} was not moved: {reason_of(error)}"
        return ""


def _in_background(
    save: Callable[[StagedSnapshot, float, float], Saved | None],
    staged: StagedSnapshot,
    start_s: float,
    stall_s: float,
) -> Future[Saved | None]:
    """In a thread that does not keep the interpreter from ending: it may hang in the kernel."""
    future: Future[Saved | None] = Future()

    def work() -> None:
        try:
            future.set_result(save(staged, start_s, stall_s))
        except BaseException as error:
            future.set_exception(error)

    try:
        threading.Thread(target=work, name="checkpoint-write", daemon=True).start()
    except RuntimeError as error:  # the system has no thread left
        future.set_exception(error)
    return future


def _delete(root: Path, step: int) -> None:
    """Hide, then remove: a checkpoint that is half deleted never looks committed."""
    hidden = temporary_path(root, step)
    with contextlib.suppress(FileNotFoundError):
        os.rename(root / step_name(step), hidden)
    with contextlib.suppress(FileNotFoundError):
        if hidden.is_symlink():
            hidden.unlink()
        else:
            shutil.rmtree(hidden)
