"""Save without stopping training: copy, then write, verify and commit in the background.

A checkpoint is committed by one rename, after every byte is on the disk and has been read back and
compared. A save that fails leaves nothing behind, is reported by ``poll``, and never raises into
training. One save is in flight at a time.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from pathlib import Path

from headrace.checkpoint.errors import DamagedCheckpoint, NotSaveable
from headrace.checkpoint.folder import (
    LATEST,
    committed,
    recover,
    set_aside_path,
    step_name,
    step_of,
    temporary_path,
)
from headrace.checkpoint.manifest import (
    MANIFEST,
    VERSION,
    Chunk,
    FileEntry,
    Manifest,
    TensorEntry,
    encode_manifest,
)
from headrace.checkpoint.retention import to_delete
from headrace.checkpoint.shard import write_shard, write_small
from headrace.checkpoint.staging import Snapshot, StagedShard, StagedSnapshot, Staging
from headrace.checkpoint.verification import check_files, verify
from headrace.core.records import sync_folder, write_file

SHARD_BYTES = 4 << 30


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
    """Saves snapshots below ``root``. Only one Saver at a time may write to a root.

    ``keep``, ``keep_every``: see ``retention.to_delete``. ``damaged``: checkpoints found damaged
    when loading (``Loaded.skipped``), which then do not count as ones to go back to. Raise
    ``OSError`` when ``root`` cannot be made or read.
    """

    def __init__(
        self,
        root: Path,
        *,
        keep: int = 3,
        keep_every: int | None = None,
        damaged: Collection[Path] = (),
        shard_bytes: int = SHARD_BYTES,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root
        self._keep = keep
        self._keep_every = keep_every
        self._now_s = now_s
        if not root.is_dir():
            root.mkdir(parents=True, exist_ok=True)
            sync_folder(root.parent)
        recover(root)
        self._verified = {
            int(step_of(path) or 0): path not in damaged and _looks_whole(path)
            for path in committed(root)
        }
        self._staging = Staging(shard_bytes)
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint-write")
        self._flight: tuple[int, Future[Saved]] | None = None
        self._reports: list[Saved | Failed] = []

    def prepare(self, snapshot: Snapshot) -> None:
        """Allocate and touch memory for snapshots like this one, before training starts.

        Raise ``NotSaveable`` for what a checkpoint cannot hold: better now than at the first save.
        """
        self.wait()
        self._staging.prepare(snapshot)

    def stage(self, snapshot: Snapshot, *, must: bool = False) -> Staged | Skipped:
        """Copy ``snapshot`` and return; writing goes on behind. Never raises (but after ``close``).

        While the former save is still being written the snapshot is skipped, unless it ``must`` be
        saved (the last one before leaving): then wait for the former. A copy that fails is
        ``Skipped`` here and ``Failed`` in ``poll``.
        """
        if must:
            self.wait()
        self._collect()
        if self._flight is not None:
            busy = self._flight[0]
            return Skipped(step=snapshot.step, reason=f"step {busy} is still being written")
        start_s = self._now_s()
        try:
            staged = self._staging.stage(snapshot)
        except (NotSaveable, MemoryError, RuntimeError) as error:
            reason = _reason(error)
            self._reports.append(Failed(step=snapshot.step, reason=reason))
            return Skipped(step=snapshot.step, reason=reason)
        stall_s = self._now_s() - start_s
        future = self._writer.submit(self._save, staged, start_s, stall_s)
        self._flight = (snapshot.step, future)
        return Staged(step=snapshot.step, size_bytes=staged.size_bytes, stall_s=stall_s)

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

    def close(self) -> None:
        """Wait for the save in flight; leaving the program does so, too. ``poll`` still tells how
        it ended."""
        self._writer.shutdown(wait=True)

    def _collect(self) -> None:
        if self._flight is None or not self._flight[1].done():
            return
        step, future = self._flight
        self._flight = None
        error = future.exception()
        self._reports.append(
            future.result() if error is None else Failed(step=step, reason=_reason(error))
        )

    def _save(self, staged: StagedSnapshot, start_s: float, stall_s: float) -> Saved:
        """In the writer thread. Raise ``OSError`` or ``DamagedCheckpoint`` when not committed."""
        path = commit(self.root, staged)
        self._verified[staged.step] = True
        durable_s = self._now_s() - start_s
        return Saved(
            step=staged.step,
            path=path,
            size_bytes=staged.size_bytes,
            stall_s=stall_s,
            durable_s=durable_s,
            note=self._after_commit(staged.step),
        )

    def _after_commit(self, step: int) -> str:
        """Move ``latest``, then delete what may go. Return what failed of that."""
        try:
            write_file(self.root / LATEST, step_name(step).encode() + b"\n")
        except OSError as error:
            return f"{LATEST} was not moved: {_reason(error)}"
        old_steps = to_delete(
            self._verified, saved=step, keep=self._keep, keep_every=self._keep_every
        )
        for old in old_steps:
            try:
                _delete(self.root, old)
            except OSError as error:
                return f"{step_name(old)} was not deleted: {_reason(error)}"
            del self._verified[old]
        return ""


def commit(root: Path, staged: StagedSnapshot) -> Path:
    """Write, flush, verify, rename. Raise ``OSError`` or ``DamagedCheckpoint``; then nothing of it
    is left."""
    temporary = temporary_path(root, staged.step)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        manifest = _write_shards(temporary, staged)
        write_small(temporary / MANIFEST, encode_manifest(manifest))
        sync_folder(temporary)
        verify(temporary)
        path = root / step_name(staged.step)
        _rename_into_place(temporary, path, staged.step)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return path


def _rename_into_place(temporary: Path, path: Path, step: int) -> None:
    """A checkpoint of the same step is set aside first; ``recover`` would put it back."""
    aside = set_aside_path(path.parent, step)
    replaces = path.exists()
    if replaces:
        os.rename(path, aside)
    try:
        os.rename(temporary, path)
    except OSError:
        if replaces:
            os.rename(aside, path)
        raise
    sync_folder(path.parent)
    if replaces:
        shutil.rmtree(aside, ignore_errors=True)


def _write_shards(folder: Path, staged: StagedSnapshot) -> Manifest:
    files: dict[str, FileEntry] = {}
    tensors: dict[str, TensorEntry] = {}
    for number, shard in enumerate(staged.shards):
        name = f"shard-{number:05d}.safetensors"
        files[name], hashes = write_shard(folder / name, shard.tensors, shard.bytes())
        tensors |= _entries(shard, name, files[name].header_bytes, hashes)
    return Manifest(
        version=VERSION,
        step=staged.step,
        files=files,
        tensors=tensors,
        aliases=staged.aliases,
        state=dict(staged.state),
    )


def _entries(
    shard: StagedShard, file: str, header_bytes: int, hashes: list[str]
) -> dict[str, TensorEntry]:
    """One replica writes whole tensors: a chunk each, that starts at 0 in every dimension."""
    return {
        placed.name: TensorEntry(
            shape=placed.shape,
            dtype=placed.dtype,
            chunks=(
                Chunk(
                    offsets=(0,) * len(placed.shape),
                    sizes=placed.shape,
                    file=file,
                    start=header_bytes + placed.start,
                    stop=header_bytes + placed.stop,
                    xxh3_128=digest,
                ),
            ),
        )
        for placed, digest in zip(shard.tensors, hashes, strict=True)
    }


def _delete(root: Path, step: int) -> None:
    """Hide, then remove: a checkpoint that is half deleted never looks committed."""
    hidden = temporary_path(root, step)
    with contextlib.suppress(FileNotFoundError):
        os.rename(root / step_name(step), hidden)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(hidden)


def _looks_whole(path: Path) -> bool:
    try:
        check_files(path)
    except (DamagedCheckpoint, OSError):
        return False
    return True


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename})" if error.filename else error.strerror
    if isinstance(error, DamagedCheckpoint | NotSaveable):
        return error.problem
    return f"{type(error).__name__}: {error}"
