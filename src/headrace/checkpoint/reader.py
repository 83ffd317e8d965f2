"""Reads boxes of the tensors of a checkpoint, verified, as bytes. No torch.

A chunk is always read and verified as a whole; who asks for less gets that part of it. The last
such chunks are kept, for who goes through a tensor box by box.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headrace.checkpoint.box import Box
from headrace.checkpoint.errors import CheckpointNotFound
from headrace.checkpoint.manifest import (
    ITEM_BYTES,
    Chunk,
    FileEntry,
    Manifest,
    TensorEntry,
    read_manifest,
)
from headrace.checkpoint.shard import ShardReader

Bytes = npt.NDArray[np.uint8]
"""The elements of a box: its sizes, and the bytes of an element as the last dimension."""

_OPEN_FILES = 64
_KEPT_BYTES = 512 << 20


class CheckpointReader:
    """Raise ``CheckpointNotFound`` or ``DamagedCheckpoint``; ``read`` does so, too."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise CheckpointNotFound(folder)
        self.folder = folder
        self.manifest: Manifest = read_manifest(folder)
        self._files: Mapping[str, FileEntry] = self.manifest.files
        self._open: dict[str, ShardReader] = {}
        self._kept: dict[tuple[str, int], Bytes] = {}

    def __enter__(self) -> "CheckpointReader":
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._open.values():
            reader.close()
        self._kept.clear()

    def check_headers(self) -> None:
        """Look at every file, also at those of which nothing is read."""
        for name in self._files:
            self._shard(name)

    def read(self, name: str, box: Box) -> Bytes:
        """A box of a stored tensor, every byte of it verified. [*box.sizes, item bytes]"""
        entry: TensorEntry = self.manifest.tensors[name]
        item_bytes = ITEM_BYTES[entry.dtype]
        found = np.empty((*box.sizes, item_bytes), dtype=np.uint8)
        for chunk in entry.chunks:
            both = chunk.box.overlap(box)
            if both is None:
                continue
            room = found[both.inside(box)]
            if both == chunk.box and both.is_run_of(box):
                self._fill(name, chunk, room)
            else:
                room[...] = self._whole(name, chunk, item_bytes)[both.inside(chunk.box)]
        return found

    def _whole(self, name: str, chunk: Chunk, item_bytes: int) -> Bytes:
        key = (chunk.file, chunk.start)
        kept = self._kept.get(key)
        if kept is None:
            kept = np.empty((*chunk.sizes, item_bytes), dtype=np.uint8)
            self._fill(name, chunk, kept)
            while self._kept and kept.nbytes + self._kept_bytes() > _KEPT_BYTES:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = kept
        return kept

    def _kept_bytes(self) -> int:
        return sum(one.nbytes for one in self._kept.values())

    def _fill(self, name: str, chunk: Chunk, room: Bytes) -> None:
        """``room`` is contiguous and has the chunk's shape."""
        data = room.reshape(-1).data
        self._shard(chunk.file).read_into(name, data, chunk.start, chunk.xxh3_128)

    def _shard(self, name: str) -> ShardReader:
        """A few files are open at a time."""
        reader = self._open.get(name)
        if reader is None:
            while len(self._open) >= _OPEN_FILES:
                self._open.pop(next(iter(self._open))).close()
            reader = self._open[name] = ShardReader(self.folder, name, self._files[name])
        return reader
