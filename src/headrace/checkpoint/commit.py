"""Write a staged snapshot durably, verify it, and commit it by one rename.

Alone, or as one of several ranks that write one checkpoint into one folder: then the first rank
commits, when all parts are there (``headrace.checkpoint.parts``).
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headrace.checkpoint.disk import write_new
from headrace.checkpoint.errors import IncompleteSave
from headrace.checkpoint.folder import discard, leftovers, rename_into_place, step_name
from headrace.checkpoint.manifest import (
    MANIFEST,
    Chunk,
    FileEntry,
    Manifest,
    TensorEntry,
    chunk_of,
    cut_chunks,
    encode_manifest,
)
from headrace.checkpoint.parts import PARTS, Part, merge, wait_for_parts, withdraw, write_part
from headrace.checkpoint.shard import hash_shard
from headrace.checkpoint.share import Ranks
from headrace.checkpoint.staging import StagedSnapshot
from headrace.checkpoint.verification import check_shards, verify
from headrace.core.records import replace, sync_folder

FIRST = 0  # the rank that commits


@dataclass(frozen=True, kw_only=True)
class Save:
    """One save of one or several ranks. ``temporary``: the folder that is renamed; its name is of
    this save alone. ``patience_s``: how long to wait for the other ranks; asked anew."""

    temporary: Path
    ranks: Ranks
    patience_s: Callable[[], float]

    @property
    def root(self) -> Path:
        return self.temporary.parent


def commit(save: Save, staged: StagedSnapshot) -> Manifest:
    """Write, flush, verify, rename to ``step-...``.

    Raise ``OSError``, ``DamagedCheckpoint`` or ``IncompleteSave``; then nothing of it is left.
    """
    temporary, root = save.temporary, save.root
    many = save.ranks.world_size > 1
    try:
        for old in leftovers(root, but=temporary if many else None):
            shutil.rmtree(old, ignore_errors=True)
        temporary.mkdir(exist_ok=many)
        parts = [_write_shards(save, staged)]
        if many:
            check_shards(temporary, parts[0].files, parts[0].tensors)
            parts += wait_for_parts(
                temporary,
                step=staged.step,
                save=temporary.name,
                ranks=range(FIRST + 1, save.ranks.world_size),
                patience_s=save.patience_s,
            )
            shutil.rmtree(temporary / PARTS)
        manifest = merge(parts, step=staged.step, state=dict(staged.state))
        write_new(temporary / MANIFEST, encode_manifest(manifest))
        sync_folder(temporary)
        if not many:
            verify(temporary)
        rename_into_place(temporary, root / step_name(staged.step), staged.step)
    except BaseException:
        discard(temporary)
        raise
    return manifest


def contribute(save: Save, staged: StagedSnapshot) -> None:
    """Write, flush and verify this rank's part of a save that another rank commits.

    Raise ``OSError`` or ``DamagedCheckpoint``; the committing rank then hears why.
    """
    temporary, rank = save.temporary, save.ranks.rank
    try:
        temporary.mkdir(exist_ok=True)
        part = _write_shards(save, staged)
        check_shards(temporary, part.files, part.tensors)
        sync_folder(temporary)
        write_part(temporary, part)
    except BaseException as error:
        files = [shard.name for shard in staged.shards]
        withdraw(temporary, save=temporary.name, rank=rank, files=files, reason=reason_of(error))
        raise


def reason_of(error: BaseException) -> str:
    """In one line, for a report."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename})" if error.filename else error.strerror
    if isinstance(error, IncompleteSave):
        return f"rank {error.rank}: {error.reason}"
    return getattr(error, "problem", None) or f"{type(error).__name__}: {error}"


def _write_shards(save: Save, staged: StagedSnapshot) -> Part:
    """Write and flush this rank's shards; in memory they count from when they are hashed."""
    part = _part(save, staged)
    of_first = save.ranks.rank == FIRST
    staged.seal(replace(part, state=dict(staged.state) if of_first else None))
    for shard in staged.shards:
        write_new(save.temporary / shard.name, shard.bytes())
    return part


def _part(save: Save, staged: StagedSnapshot) -> Part:
    share = staged.share
    files: dict[str, FileEntry] = {}
    chunks: dict[str, list[Chunk]] = {name: [] for name in share.wholes}
    for shard in staged.shards:
        data = shard.bytes()
        header_bytes = len(data) - max((tensor.stop for tensor in shard.tensors), default=0)
        pieces = [
            (share.boxes[tensor.name][0], *piece)
            for tensor in shard.tensors
            for piece in cut_chunks(
                share.boxes[tensor.name][1], tensor.dtype, header_bytes + tensor.start
            )
        ]
        spans = [(start, stop) for _, _, start, stop in pieces]
        files[shard.name], hashes = hash_shard(data, header_bytes, spans)
        for (name, box, start, stop), digest in zip(pieces, hashes, strict=True):
            chunks[name].append(chunk_of(box, shard.name, start, stop, digest))
    tensors = {
        name: TensorEntry(shape=shape, dtype=dtype, chunks=tuple(chunks[name]))
        for name, (shape, dtype) in share.wholes.items()
    }
    return Part(
        save=save.temporary.name,
        rank=save.ranks.rank,
        files=files,
        tensors=tensors,
        aliases=share.aliases,
    )
