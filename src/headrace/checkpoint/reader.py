"""Reads boxes of the tensors of a checkpoint, verified, as bytes. No torch.

A chunk is always read and verified as a whole; who asks for less gets that part of it. Many boxes
are read by several threads, whole chunks straight into the memory where they are to lie.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.checkpoint import disk
from headrace.checkpoint.box import Box
from headrace.checkpoint.errors import CheckpointNotFound
from headrace.checkpoint.manifest import ITEM_BYTES, Chunk, Manifest, read_manifest
from headrace.checkpoint.shard import Span, check_header, read_run
from headrace.core.memory import aligned_memory

Bytes = npt.NDArray[np.uint8]
"""The elements of a box: its sizes, and the bytes of an element as the last dimension."""

_READERS = 4  # threads
_RUN_BYTES = 16 << 20  # what one of them reads at a time
_ROOM_BYTES = 32 << 20  # of memory that small tensors share
_KEPT_BYTES = 512 << 20


class _Part(NamedTuple):
    """What a chunk holds of a box that is wanted."""

    tensor: str
    chunk: Chunk
    both: Box

    def is_straight(self, wanted: Box) -> bool:
        """Whether the chunk can be read right into an array that holds ``wanted``."""
        return self.both == self.chunk.box and self.both.is_run_of(wanted)

    @property
    def span(self) -> Span:
        return Span(self.tensor, self.chunk.start, self.chunk.stop, self.chunk.xxh3_128)


_Run = list[tuple[_Part, memoryview]]
"""Chunks that follow each other in a file, and where each is to lie."""


class CheckpointReader:
    """Raise ``CheckpointNotFound`` or ``DamagedCheckpoint``; whatever reads does so, too."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise CheckpointNotFound(folder)
        self.folder = folder
        self.manifest: Manifest = read_manifest(folder)
        self._looked_at: set[str] = set()
        self._kept: dict[tuple[str, int], Bytes] = {}

    def check_headers(self) -> None:
        """Look at every file, also at those of which nothing is read."""
        self._look_at(self.manifest.files)

    def read_all(self, boxes: Mapping[str, Box]) -> dict[str, Bytes]:
        """Boxes of several stored tensors. [*box.sizes, item bytes] each."""
        parts = {name: self._parts(name, box) for name, box in boxes.items()}
        self._look_at({part.chunk.file for found in parts.values() for part in found})
        rooms = self._rooms(boxes, parts)
        straight: _Run = []
        jobs = []
        for name, found in parts.items():
            for part in found:
                room = rooms[name][part.both.inside(boxes[name])]
                if part.is_straight(boxes[name]):
                    straight.append((part, room.reshape(-1).data))
                else:
                    jobs.append(partial(self._read_some, part, room))
        jobs += [partial(self._read_run, run) for run in _runs(straight)]
        disk.in_parallel(jobs, threads=min(_READERS, len(jobs)))
        return rooms

    def read(self, name: str, box: Box) -> Bytes:
        """A box of a stored tensor. [*box.sizes, item bytes]

        Chunks of which only a part was needed are kept, for who goes on to the next box.
        """
        found = np.empty((*box.sizes, self._item_bytes(name)), dtype=np.uint8)
        for part in self._parts(name, box):
            self._look_at([part.chunk.file])
            room = found[part.both.inside(box)]
            if part.is_straight(box):
                self._read_run([(part, room.reshape(-1).data)])
            else:
                room[...] = self._whole(part)[part.both.inside(part.chunk.box)]
        return found

    def _item_bytes(self, name: str) -> int:
        return ITEM_BYTES[self.manifest.tensors[name].dtype]

    def _parts(self, name: str, box: Box) -> list[_Part]:
        both = ((chunk, chunk.box.overlap(box)) for chunk in self.manifest.tensors[name].chunks)
        return [_Part(name, chunk, found) for chunk, found in both if found is not None]

    def _rooms(
        self, boxes: Mapping[str, Box], parts: Mapping[str, Sequence[_Part]]
    ) -> dict[str, Bytes]:
        """Memory for each box, for neighbours in a file side by side."""

        def start(name: str) -> tuple[str, int]:
            first = parts[name][:1]
            return (first[0].chunk.file, first[0].chunk.start) if first else ("", 0)

        ordered = sorted(boxes, key=start)
        shapes = {name: (*boxes[name].sizes, self._item_bytes(name)) for name in ordered}
        flat = _memory((start(name)[1], math.prod(shapes[name])) for name in ordered)
        return {name: room.reshape(shapes[name]) for name, room in zip(ordered, flat, strict=True)}

    def _look_at(self, names: Iterable[str]) -> None:
        new = [name for name in names if name not in self._looked_at]
        files = self.manifest.files
        jobs = [partial(check_header, self.folder, name, files[name]) for name in new]
        disk.in_parallel(jobs, threads=min(_READERS, len(jobs)))
        self._looked_at.update(new)

    def _read_run(self, run: _Run) -> None:
        name = run[0][0].chunk.file
        wanted = [(part.span, memory) for part, memory in run]
        read_run(self.folder, name, self.manifest.files[name], wanted)

    def _read_some(self, part: _Part, room: Bytes) -> None:
        room[...] = self._read_whole(part)[part.both.inside(part.chunk.box)]

    def _read_whole(self, part: _Part) -> Bytes:
        found = np.empty((*part.chunk.sizes, self._item_bytes(part.tensor)), dtype=np.uint8)
        self._read_run([(part, found.reshape(-1).data)])
        return found

    def _whole(self, part: _Part) -> Bytes:
        key = (part.chunk.file, part.chunk.start)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._read_whole(part)
            while self._kept and kept.nbytes + self._kept_bytes() > _KEPT_BYTES:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = kept
        return kept

    def _kept_bytes(self) -> int:
        return sum(one.nbytes for one in self._kept.values())


def _runs(pieces: _Run) -> Iterator[_Run]:
    """Pieces of about ``_RUN_BYTES``, in the order of the files."""
    run: _Run = []
    for piece in sorted(pieces, key=lambda one: (one[0].chunk.file, one[0].chunk.start)):
        if run:
            first, last = run[0][0].chunk, run[-1][0].chunk
            follows = (last.file, last.stop) == (piece[0].chunk.file, piece[0].chunk.start)
            if not follows or piece[0].chunk.stop - first.start > _RUN_BYTES:
                yield run
                run = []
        run.append(piece)
    if run:
        yield run


def _memory(wanted: Iterable[tuple[int, int]]) -> Iterator[Bytes]:
    """Memory for each (start in a file, bytes), aligned to pages as the file is.

    Of small pages, which several readers take at once: a virtual machine may have to get huge ones
    from its host first (3 s a GiB were seen, of small ones 0.6 s).
    """
    places: list[tuple[int, int]] = []
    end = 0
    for start, size_bytes in wanted:
        first = end + (start - end) % disk.BLOCK_BYTES
        if places and first + size_bytes > _ROOM_BYTES:
            yield from _room(places)
            places, first = [], start % disk.BLOCK_BYTES
        end = first + size_bytes
        places.append((first, end))
    if places:
        yield from _room(places)


def _room(places: Sequence[tuple[int, int]]) -> list[Bytes]:
    room = np.frombuffer(aligned_memory(places[-1][1], huge=False), dtype=np.uint8)
    return [room[start:stop] for start, stop in places]
