"""Read, verify and decode the samples of a batch: the inner loops of the data path.

Three ways: rows of tokens straight into the batch's array; units of one sample into the batch's
memory, decoded from there; units of many samples decoded as a whole and kept for a while. A unit
whose hash differs is read a second time, carefully; if it differs again it is damaged, and no byte
of it is returned.
"""

import contextlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import xxhash

from headrace.core.errors import HeadraceError
from headrace.data.buffers import Buffers
from headrace.data.damage import Damage
from headrace.data.errors import DamagedData, DataUnreachable
from headrace.data.files import DataFile, Files
from headrace.data.footprint import footprint
from headrace.data.formats.format import Decode, Sample
from headrace.data.index import Tokens as TokenShape

CACHE_BYTES = 512 << 20
_DIFFERS = "the checksum differs"
_AT_HAND_S, _AT_HAND_S_PER_BYTE = 50e-6, 1e-9
_hash = xxhash.xxh3_64_intdigest


@dataclass(frozen=True, slots=True)
class Places:
    """Where samples lie, as plain lists for a loop, one entry a sample."""

    indices: list[int]
    units: list[int]
    rows: list[int]
    files: list[int]
    starts: list[int]
    sizes: list[int]
    digests: list[int]

    def __len__(self) -> int:
        return len(self.indices)

    def cut(self, start: int, stop: int) -> "Places":
        return Places(
            self.indices[start:stop],
            self.units[start:stop],
            self.rows[start:stop],
            self.files[start:stop],
            self.starts[start:stop],
            self.sizes[start:stop],
            self.digests[start:stop],
        )


class Found(Protocol):
    """Where the samples of a batch lie, in the terms of the data set that found them."""

    def __len__(self) -> int: ...

    def cut(self, start: int, stop: int) -> "Found":
        """Those of samples ``[start, stop)``."""
        ...


class Filled(NamedTuple):
    """``samples`` without those in ``damaged``; ``good``: positions of the samples in the batch,
    None when all are there."""

    samples: Any
    damaged: tuple[Damage, ...] = ()
    good: list[int] | None = None


class Fill(Protocol):
    """Safe to call from several threads."""

    def __call__(self, places: Places, buffers: Buffers) -> Filled: ...


class FillTokens:
    """Rows of tokens: shape [n, window + 1]."""

    def __init__(self, files: Files, shape: TokenShape) -> None:
        self._files = files
        self._shape = shape
        self._row_bytes = (shape.window + 1) * shape.dtype.itemsize

    def __call__(self, places: Places, buffers: Buffers) -> Filled:
        count, size = len(places), self._row_bytes
        memory = buffers.get(count * size)
        view = memory.data
        rows = [view[start : start + size] for start in range(0, count * size, size)]
        bad: dict[int, Damage] = {}
        for number in _differing(self._files, places, rows):
            damage = _second_reading(self._files, places, number, rows[number])
            if damage is not None:
                bad[number] = damage
        samples = memory.view(self._shape.dtype).reshape(count, self._shape.window + 1)
        if not bad:
            return Filled(samples)
        good = [number for number in range(count) if number not in bad]
        return Filled(samples[good], tuple(bad.values()), good)


class FillSingles:
    """One sample a unit. Without ``decode`` a sample is its bytes: a read-only view of the batch's
    memory, which is not used again as long as anyone holds one."""

    def __init__(self, files: Files, decode: Decode | None) -> None:
        self._files = files
        self._decode = decode

    def __call__(self, places: Places, buffers: Buffers) -> Filled:
        view = buffers.get(sum(places.sizes)).data
        ends = [0, *accumulate(places.sizes)]
        rows = [view[start:stop] for start, stop in pairwise(ends)]
        bad: dict[int, Damage] = {}
        for number in _differing(self._files, places, rows):
            damage = _second_reading(self._files, places, number, rows[number])
            if damage is not None:
                bad[number] = damage
        samples: list[Sample] = []
        for number, row in enumerate(rows):
            if number in bad:
                continue
            if self._decode is None:
                samples.append(row.toreadonly())
                continue
            decoded = _decoded(self._decode, self._files, places, number, row)
            if isinstance(decoded, Damage):
                bad[number] = decoded
            else:
                samples.append(decoded[0])
        good = [n for n in range(len(rows)) if n not in bad] if bad else None
        return Filled(samples, tuple(bad.values()), good)


class FillGroups:
    """Many samples a unit: decoded units are kept, the latest used, up to ``cache_bytes`` of
    memory. Each is decoded by one thread, which others that need it wait for. What is
    given out is a copy: a transform may change its sample in place."""

    def __init__(self, files: Files, decode: Decode, *, cache_bytes: int = CACHE_BYTES) -> None:
        self._files = files
        self._decode = decode
        self._room_bytes = cache_bytes
        self._kept: OrderedDict[int, tuple[Sequence[Sample], int]] = OrderedDict()
        self._under_way: set[int] = set()
        self._changed = threading.Condition()

    def __call__(self, places: Places, buffers: Buffers) -> Filled:
        samples: list[Sample] = []
        good: list[int] = []
        bad: dict[int, Damage] = {}
        for number in range(len(places)):
            rows = self._rows(places, number)
            if isinstance(rows, Damage):
                bad[number] = rows
            else:
                good.append(number)
                samples.append(_copy(rows[places.rows[number]]))
        return Filled(samples, tuple(bad.values()), good if bad else None)

    def _rows(self, places: Places, number: int) -> Sequence[Sample] | Damage:
        unit = places.units[number]
        with self._changed:
            while unit in self._under_way:
                self._changed.wait()
            kept = self._kept.get(unit)
            if kept is not None:
                self._kept.move_to_end(unit)
                return kept[0]
            self._under_way.add(unit)
        try:
            rows = self._read(places, number)
            if not isinstance(rows, Damage):
                self._keep(unit, rows)
            return rows
        finally:
            with self._changed:
                self._under_way.discard(unit)
                self._changed.notify_all()

    def _read(self, places: Places, number: int) -> Sequence[Sample] | Damage:
        memory = memoryview(bytearray(places.sizes[number]))
        damage = _second_reading(self._files, places, number, memory)
        if damage is not None:
            return damage
        return _decoded(self._decode, self._files, places, number, memory)

    def _keep(self, unit: int, rows: Sequence[Sample]) -> None:
        size_bytes = footprint(rows)
        with self._changed:
            self._kept[unit] = (rows, size_bytes)
            while len(self._kept) > 1 and self._held_bytes() > self._room_bytes:
                self._kept.popitem(last=False)

    def _held_bytes(self) -> int:
        return sum(size for _, size in self._kept.values())


def _copy(value: Sample) -> Sample:
    """Of what can be changed in place; the rest is shared."""
    if isinstance(value, dict):
        return {name: _copy(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_copy(one) for one in value])
    return value.copy() if isinstance(value, np.ndarray | bytearray) else value


def _decoded(
    decode: Decode, files: Files, places: Places, number: int, memory: memoryview
) -> Sequence[Sample] | Damage:
    """The rows of a unit. Its bytes are those that were indexed, but may have been wrong then."""
    name, start = files.name(places.files[number]), places.starts[number]
    try:
        return decode(memory.toreadonly(), name, start)
    except DamagedData as error:
        return damage_at(files.get(places.files[number]), places, number, error.why)


def _differing(files: Files, places: Places, rows: list[memoryview]) -> list[int]:
    """Read each row and return the numbers of those that were not read whole and right."""
    differing = []
    if rows and not _in_memory(files, places, rows[-1]):
        _ask_ahead(files, places)
    read, digest_of = os.preadv, _hash
    descriptor, file, held = -1, -1, None
    for number, (row, where, start, size, digest) in enumerate(
        zip(rows, places.files, places.starts, places.sizes, places.digests, strict=True)
    ):
        try:
            if where != file:
                held = files.get(where)  # its descriptor stays open while it is held
                descriptor, file = held.descriptor, where
            if read(descriptor, (row,), start) != size or digest_of(row) != digest:
                differing.append(number)
        except (OSError, HeadraceError):
            differing.append(number)
            file = -1
    del held
    return differing


def _in_memory(files: Files, places: Places, row: memoryview) -> bool:
    """Whether the kernel has the batch's last sample at hand, which speaks for the others. Of a
    file system that cannot tell (tmpfs, Lustre), the time of a read tells."""
    start = places.starts[-1]
    try:
        descriptor = files.get(places.files[-1]).descriptor
        return os.preadv(descriptor, (row,), start, os.RWF_NOWAIT) == len(row)
    except BlockingIOError:
        return False
    except (OSError, HeadraceError):
        begun_s = time.perf_counter()
        with contextlib.suppress(OSError, HeadraceError):  # met again, and told, when it is read
            os.preadv(files.get(places.files[-1]).descriptor, (row,), start)
        return time.perf_counter() - begun_s < _AT_HAND_S + len(row) * _AT_HAND_S_PER_BYTE


def _ask_ahead(files: Files, places: Places) -> None:
    """Have the disk fetch the whole batch at once: reads that wait for one another take longer."""
    for where, start, size in zip(places.files, places.starts, places.sizes, strict=True):
        with contextlib.suppress(OSError, HeadraceError):  # met again, and told, when it is read
            descriptor = files.get(where).descriptor
            os.posix_fadvise(descriptor, start, size, os.POSIX_FADV_WILLNEED)


def _second_reading(files: Files, places: Places, number: int, memory: memoryview) -> Damage | None:
    """Read one unit with care, where a copy is wrong of the source; None when it is right.

    Raise what is no damage of this unit: a file that is closed, gone or has changed.
    """
    file = files.get(places.files[number])
    try:
        why = _wrong(file, places, number, memory)
    except DataUnreachable as error:
        if not error.is_stale:
            raise
        files.forget(places.files[number], file)
        file = files.get(places.files[number])
        why = _wrong(file, places, number, memory)
    if why is not None and files.distrust(places.files[number], file):
        file = files.get(places.files[number])
        why = _wrong(file, places, number, memory)
    return None if why is None else damage_at(file, places, number, why)


def _wrong(file: DataFile, places: Places, number: int, memory: memoryview) -> str | None:
    try:
        file.read_into(memory, places.starts[number])
    except EOFError as error:
        return str(error)
    except OSError as error:
        if not file.close.alive:
            raise
        return f"reading failed: {error.strerror}"
    return None if _hash(memory) == places.digests[number] else _DIFFERS


def damage_at(file: DataFile, places: Places, number: int, why: str) -> Damage:
    start = places.starts[number]
    return Damage(
        index=places.indices[number],
        path=str(file.path),
        start=start,
        stop=start + places.sizes[number],
        why=why,
    )
