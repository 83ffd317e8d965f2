"""Staging memory that outlives the rank: the memory tier of checkpoints.

::

    <place>/<slot>/[rank-00000-]shard-00000.safetensors    staging memory, mapped by the rank
    <place>/<slot>/parts/rank-00000.json                   what lies in this rank's shards

``place`` lies in /dev/shm and belongs to the node's agent. A rank's part is removed before its
shards are written over and put there when they are complete and hashed: a snapshot without all
parts, or of parts of several saves, is none. The parts together make the manifest, and then the
slot is a checkpoint like any other: loading compares every hash.
"""

import contextlib
import mmap
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from headrace.checkpoint.errors import IncompleteSave
from headrace.checkpoint.folder import saved_step
from headrace.checkpoint.manifest import MANIFEST, Manifest, encode_manifest
from headrace.checkpoint.parts import Part, merge, part_path, read_parts, write_part
from headrace.core.memory import aligned_memory
from headrace.core.records import DecodeError, write_file

_SPARE_BYTES = 256 << 20  # of /dev/shm, for what ranks share otherwise
_SHARD = re.compile(r"(?:rank-(\d+)-)?shard-\d+\.safetensors")
_ZEROS = bytes(1 << 20)


class Rooms(Protocol):
    """Where staging memory comes from. ``first``: the slot to use first; the same on all ranks."""

    @property
    def first(self) -> int: ...

    def slots(self, size_bytes: int) -> int:
        """How many snapshots of this size there is room for, at most 2."""

    def room(self, slot: int, name: str, header: bytes, data_bytes: int) -> mmap.mmap:
        """Memory of a shard that begins with ``header``. Raise ``OSError``."""

    def open(self, slot: int) -> None:
        """The snapshot in this slot is about to be written over."""

    def seal(self, slot: int, part: Part) -> None:
        """The snapshot in this slot is complete."""

    def give_up(self) -> None:
        """Give back what ``room`` has taken: there is not room for all."""


class Private:
    """Memory of this process alone."""

    first = 0

    def slots(self, size_bytes: int) -> int:
        return 1

    def room(self, slot: int, name: str, header: bytes, data_bytes: int) -> mmap.mmap:
        memory = aligned_memory(len(header) + data_bytes)
        memory[: len(header)] = header
        for start in range(len(header), len(memory), len(_ZEROS)):  # a fresh page costs its touch
            stop = min(start + len(_ZEROS), len(memory))
            memory[start:stop] = _ZEROS[: stop - start]
        return memory

    def open(self, slot: int) -> None:
        pass

    def seal(self, slot: int, part: Part) -> None:
        pass

    def give_up(self) -> None:
        pass


PRIVATE = Private()


class Shared:
    """Memory in files below ``place``. ``limit_bytes``: of this rank; None for one snapshot."""

    def __init__(
        self,
        place: Path,
        *,
        rank: int = 0,
        world_size: int = 1,
        first: int = 0,
        limit_bytes: int | None = None,
    ) -> None:
        self.place = place
        self.first = first
        self._rank = rank
        self._world_size = world_size
        self._limit_bytes = limit_bytes

    def after(self, slot: int) -> "Shared":
        """The same, with another slot than this one to use first: it holds what was restored."""
        return Shared(
            self.place,
            rank=self._rank,
            world_size=self._world_size,
            first=slot + 1,
            limit_bytes=self._limit_bytes,
        )

    def slots(self, size_bytes: int) -> int:
        """One costs no more memory than a rank's own would: what is written over is on the disk by
        then, unless the disk failed. A second one, so that then, too, the former snapshot stays
        good while the next is copied, only within a limit that was given."""
        try:
            self._tidy()
            found = os.statvfs(self.place)
        except OSError:
            return 0
        room_bytes = found.f_bavail * found.f_frsize + self._held_bytes() - _SPARE_BYTES
        limit_bytes = size_bytes if self._limit_bytes is None else self._limit_bytes
        return min(2, max(0, min(room_bytes, limit_bytes)) // max(1, size_bytes))

    def room(self, slot: int, name: str, header: bytes, data_bytes: int) -> mmap.mmap:
        """The file of a former attempt, with what it holds, when it is of the same layout."""
        path = self._slot(slot) / name
        size_bytes = len(header) + data_bytes
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(descriptor).st_size != size_bytes:
                self.open(slot)
                os.ftruncate(descriptor, 0)
                os.ftruncate(descriptor, size_bytes)
            os.posix_fallocate(descriptor, 0, size_bytes)  # or a later touch is a SIGBUS
            memory = mmap.mmap(descriptor, size_bytes, mmap.MAP_SHARED | mmap.MAP_POPULATE)
        finally:
            os.close(descriptor)
        if memory[: len(header)] != header:
            self.open(slot)
            memory[: len(header)] = header
        return memory

    def open(self, slot: int) -> None:
        (self._slot(slot) / MANIFEST).unlink(missing_ok=True)
        part_path(self._slot(slot), self._rank).unlink(missing_ok=True)

    def seal(self, slot: int, part: Part) -> None:
        with contextlib.suppress(OSError):  # then there is a checkpoint on the disk only
            write_part(self._slot(slot), part)

    def give_up(self) -> None:
        for path, rank in self._shards():
            if rank == self._rank:
                part_path(path.parent, self._rank).unlink(missing_ok=True)
                path.unlink(missing_ok=True)

    def _tidy(self) -> None:
        """Remove the shards of ranks that this attempt, smaller or larger, does not have."""
        for path, rank in self._shards():
            if rank is None or rank >= self._world_size:
                path.unlink(missing_ok=True)

    def _shards(self) -> Iterator[tuple[Path, int | None]]:
        """All of this node, each with its rank; None for one of another kind of attempt."""
        many = self._world_size > 1
        for path in self.place.glob("*/*.safetensors"):
            if found := _SHARD.fullmatch(path.name):
                yield path, int(found[1] or 0) if (found[1] is not None) == many else None

    def _slot(self, slot: int) -> Path:
        return self.place / str(slot)

    def _held_bytes(self) -> int:
        held_bytes = 0
        for path, _ in self._shards():
            with contextlib.suppress(FileNotFoundError):  # another rank tidies up as well
                held_bytes += path.stat().st_size
        return held_bytes


def snapshots(place: Path) -> Iterator[tuple[int, str, Path]]:
    """(step, save, folder) of the complete snapshots in memory, newest first.

    A folder has its manifest then; its tensors have not been looked at.
    """
    found = []
    for slot in sorted(place.iterdir()) if place.is_dir() else ():
        try:
            parts = read_parts(slot)
        except (OSError, DecodeError):
            continue
        for save in {part.save for part in parts}:  # one, unless an attempt had other ranks
            manifest = _manifest([part for part in parts if part.save == save])
            if manifest is not None:
                with contextlib.suppress(OSError):
                    write_file(slot / MANIFEST, encode_manifest(manifest))
                    found.append((manifest.step, save, slot))
    yield from sorted(found, reverse=True)


def _manifest(parts: Sequence[Part]) -> Manifest | None:
    """None unless these parts of one save are all of it."""
    step = saved_step(parts[0].save)
    state = next((part.state for part in parts if part.state is not None), None)
    if step is None or state is None:
        return None
    try:
        return merge(parts, step=step, state=state)
    except IncompleteSave:
        return None
