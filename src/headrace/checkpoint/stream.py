"""Write safetensors files piece by piece: tensors larger than memory, from anywhere. No torch.

Each piece is a box that follows the former one in its tensor, so that a file is written in order.
What was written is read back from the disk and compared.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from headrace.checkpoint.box import Box, cut, label, whole
from headrace.checkpoint.manifest import (
    CHUNK_BYTES,
    ITEM_BYTES,
    Chunk,
    FileEntry,
    TensorEntry,
    chunk_of,
)
from headrace.checkpoint.shard import Placed, Span, check_shard, encode_header, widest_first

Read = Callable[[Box], npt.NDArray[np.uint8]]
"""A box of a tensor -> its bytes, row-major."""
Done = Callable[[int], None]
"""Told how many bytes were written since it was last told."""


@dataclass(frozen=True)
class Origin:
    """A tensor to write: what it is, and how to read a box of it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    read: Read

    @property
    def size_bytes(self) -> int:
        return whole(self.shape).elements * ITEM_BYTES[self.dtype]


class Piece(NamedTuple):
    """A box of a tensor that goes into one file."""

    origin: Origin
    box: Box

    @property
    def size_bytes(self) -> int:
        return self.box.elements * ITEM_BYTES[self.origin.dtype]

    @property
    def label(self) -> str:
        return label(self.origin.name, self.box, self.origin.shape)


def spread(origins: Iterable[Origin], shards: int) -> list[list[Piece]]:
    """All tensors over ``shards`` files of about the same size; tensors are cut between rows.

    There are fewer files where there is not so much to cut.
    """
    ordered = widest_first(origins)
    total_bytes = sum(origin.size_bytes for origin in ordered)
    files: list[list[Piece]] = [[]]
    written_bytes = 0
    for origin in ordered:
        rest = whole(origin.shape)
        while True:
            room_bytes = len(files) * total_bytes // shards - written_bytes
            last = len(files) >= shards
            head = rest if last else _head(rest, room_bytes // ITEM_BYTES[origin.dtype])
            if head is not None:
                files[-1].append(Piece(origin, head))
                written_bytes += files[-1][-1].size_bytes
            if head == rest:
                break
            files.append([])
            rest = rest if head is None else _after(rest, head)
    return [file for file in files if file]


def _head(box: Box, elements: int) -> Box | None:
    """The first rows of a box, as many as there is room for; None when there is none."""
    if box.elements <= elements:
        return box
    if not box.sizes:
        return None
    rows = elements * box.sizes[0] // box.elements
    return Box(box.offsets, (rows, *box.sizes[1:])) if rows > 0 else None


def _after(box: Box, head: Box) -> Box:
    rows = head.sizes[0]
    return Box((box.offsets[0] + rows, *box.offsets[1:]), (box.sizes[0] - rows, *box.sizes[1:]))


def write_file(
    path: Path,
    pieces: Sequence[Piece],
    *,
    metadata: Mapping[str, str] | None = None,
    done: Done = lambda size_bytes: None,
) -> tuple[FileEntry, list[tuple[str, Chunk]]]:
    """Write, flush and read back one new file. Return its entry, and (tensor's name, chunk) each.

    Raise ``OSError``, ``DamagedCheckpoint``, and what reading raises.
    """
    placed, start = [], 0
    for piece in pieces:
        stop = start + piece.size_bytes
        placed.append(Placed(piece.label, piece.origin.dtype, piece.box.sizes, start, stop))
        start = stop
    header = encode_header(placed, metadata)
    chunks: list[tuple[str, Chunk]] = []
    with _saying(path), path.open("xb") as file:
        file.write(header)
        start = len(header)
        for piece, box in _boxes(pieces):
            data = piece.origin.read(box).reshape(-1).data
            file.write(data)
            stop = start + len(data)
            digest = xxhash.xxh3_128_hexdigest(data)
            chunks.append((piece.origin.name, chunk_of(box, path.name, start, stop, digest)))
            done(len(data))
            start = stop
        file.flush()
        os.fsync(file.fileno())
    entry = FileEntry(
        size_bytes=start,
        header_bytes=len(header),
        header_xxh3_128=xxhash.xxh3_128_hexdigest(header),
    )
    spans = [Span(name, chunk.start, chunk.stop, chunk.xxh3_128) for name, chunk in chunks]
    check_shard(path.parent, path.name, entry, spans)
    return entry, chunks


@contextmanager
def _saying(path: Path) -> Iterator[None]:
    """The system's errors, such as of a full disk, say which file was written."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _boxes(pieces: Sequence[Piece]) -> Iterator[tuple[Piece, Box]]:
    for piece in pieces:
        elements = CHUNK_BYTES // ITEM_BYTES[piece.origin.dtype]
        for box in cut(piece.box, elements=elements):
            yield piece, box


def entries(
    origins: Iterable[Origin], chunks: Iterable[tuple[str, Chunk]]
) -> dict[str, TensorEntry]:
    """What a manifest says of the tensors."""
    found: dict[str, list[Chunk]] = {origin.name: [] for origin in origins}
    for name, chunk in chunks:
        found[name].append(chunk)
    return {
        origin.name: TensorEntry(
            shape=origin.shape, dtype=origin.dtype, chunks=tuple(found[origin.name])
        )
        for origin in origins
    }
