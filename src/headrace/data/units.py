"""Where each sample lies: the table of units, its encoding in blocks, and a bounded cache of it.

A unit is what is read and verified as a whole. Blocks come from the file when they are first needed
and stay in columns of a fixed number of slots, so that looking up thousands of samples is a few
array operations, and memory is bounded however many samples there are.
"""

import struct
import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.data.order import Indices
from headrace.data.sections import ROWS_PER_BLOCK, Blocks

Column = NDArray[np.integer[Any]]
CACHE_BYTES = 32 << 20
_HEAD = struct.Struct("<II")
_REGULAR = struct.Struct("<QQQQ")
_IS_REGULAR, _HAS_ROWS = 1, 2
_BYTES_PER_UNIT = 36
_NONE = np.iinfo(np.int64).max
_ONE: Column = np.ones((), np.int64)
_BLOCKS_AT_ONCE = 32  # of memory that stays in the processor's cache


class Columns(NamedTuple):
    """Units side by side, each of shape [n]. ``rows``: samples in each."""

    files: Column
    starts: Column
    sizes: Column
    rows: Column
    digests: Column

    def cut(self, start: int, stop: int) -> "Columns":
        return Columns(*(column[start:stop] for column in self))


def encode_units(units: Columns) -> bytes:
    """One block. Units of one size, evenly spaced in one file, take 8 bytes each."""
    files, starts, sizes, rows, digests = units
    has_rows = bool((rows != 1).any())
    strides = np.diff(starts)
    regular = (
        (files == files[0]).all()
        and (sizes == sizes[0]).all()
        and (strides == strides[:1]).all()
        and not (strides < 0).any()
    )
    data = _HEAD.pack((_IS_REGULAR if regular else 0) | (_HAS_ROWS if has_rows else 0), len(files))
    data += digests.astype("<u8").tobytes()
    if regular:
        stride = int(strides[0]) if len(strides) else 0
        data += _REGULAR.pack(int(files[0]), int(starts[0]), stride, int(sizes[0]))
    else:
        data += starts.astype("<u8").tobytes() + sizes.astype("<u8").tobytes()
        data += files.astype("<u4").tobytes()
    return data + (rows.astype("<u4").tobytes() if has_rows else b"")


def decode_units(data: bytes) -> Columns:
    """The inverse of ``encode_units``."""
    return Columns(*(column[0] for column in _decode_equal(np.frombuffer(data, np.uint8)[None])))


def _decode_equal(blocks: NDArray[np.uint8]) -> Columns:
    """Blocks of equal flags and count; shape [blocks, bytes] to columns of [blocks, units]."""
    flags, count = _HEAD.unpack_from(blocks[0].tobytes())
    place = _HEAD.size

    def taken(kind: str, many: int) -> Column:
        nonlocal place
        start, place = place, place + many * np.dtype(kind).itemsize
        column: Column = blocks[:, start:place].view(kind)
        return column

    digests = taken("<u8", count)
    if flags & _IS_REGULAR:
        file, start, stride, size = taken("<i8", 4).T[:, :, None]
        starts = start + stride * np.arange(count, dtype=np.int64)
        files, sizes = (np.broadcast_to(one, starts.shape) for one in (file, size))
    else:
        starts, sizes, files = taken("<i8", count), taken("<i8", count), taken("<u4", count)
    rows = taken("<u4", count) if flags & _HAS_ROWS else np.broadcast_to(_ONE, starts.shape)
    return Columns(files, starts, sizes, rows, digests)


class Found(NamedTuple):
    """Where samples lie, one entry a sample. ``rows``: which of the unit's samples."""

    units: Column
    rows: Column
    files: Column
    starts: Column
    sizes: Column
    digests: Column


class Units:
    """Look-up by sample number. Safe to use from several threads. Raise ``DamagedData``."""

    def __init__(
        self,
        blocks: Blocks,
        *,
        units: int,
        samples: int,
        cache_bytes: int = CACHE_BYTES,
        least_blocks: int = 8,
    ) -> None:
        self._blocks = blocks
        self._single = units == samples
        wanted = max(least_blocks, cache_bytes // (ROWS_PER_BLOCK * _BYTES_PER_UNIT))
        slots = max(1, min(len(blocks), wanted))
        shape = (slots, ROWS_PER_BLOCK)
        kinds = (np.int64, np.int64, np.int64, np.int64, np.uint64)
        self._columns = Columns(*(np.empty(shape, kind) for kind in kinds))
        self._slot_of = np.full(len(blocks), -1, np.int64)
        self._block_in = np.full(slots, -1, np.int64)
        self._hand = 0
        self._lock = threading.Lock()

    def find(self, indices: Indices) -> Found:
        """``indices`` must be in range."""
        if self._single:
            blocks = indices // ROWS_PER_BLOCK
        else:
            blocks = np.searchsorted(self._blocks.first, indices, side="right") - 1
        needed = np.unique(blocks)
        slots = len(self._block_in)
        if len(needed) > slots:
            parts = np.array_split(indices, -(-len(indices) // slots))
            found = [self.find(part) for part in parts]
            return Found(*(np.concatenate(columns) for columns in zip(*found, strict=True)))
        with self._lock:
            self._load(needed)
            return self._gather(indices, blocks)

    def _gather(self, indices: Indices, blocks: Column) -> Found:
        held = self._slot_of[blocks]
        if self._single:
            places, rows = indices % ROWS_PER_BLOCK, np.zeros(len(indices), np.int64)
        else:
            ends = self._columns.rows[held]
            within = indices - self._blocks.first[blocks]
            places = (ends <= within[:, None]).sum(axis=1)
            before = ends[np.arange(len(places)), np.maximum(places - 1, 0)]
            rows = within - np.where(places > 0, before, 0)
        files, starts, sizes, _, digests = (column[held, places] for column in self._columns)
        return Found(blocks * ROWS_PER_BLOCK + places, rows, files, starts, sizes, digests)

    def _load(self, needed: Column) -> None:
        missing = needed[self._slot_of[needed] < 0]
        if not len(missing):
            return
        slots = self._free_slots(needed, len(missing))
        sizes = self._blocks.entries["size"][missing]
        for size in np.unique(sizes):
            of_size = np.flatnonzero(sizes == size)
            for first in range(0, len(of_size), _BLOCKS_AT_ONCE):
                part = of_size[first : first + _BLOCKS_AT_ONCE]
                self._keep(slots[part], self._blocks.read_equal(missing[part]))
        self._block_in[slots] = missing
        self._slot_of[missing] = slots

    def _keep(self, slots: Column, blocks: NDArray[np.uint8]) -> None:
        heads = blocks[:, : _HEAD.size].view("<u8")[:, 0]
        for head in np.unique(heads):
            alike = slice(None) if (heads == head).all() else heads == head
            units, here = _decode_equal(blocks[alike]), slots[alike]
            count = units.starts.shape[1]
            for column, values in zip(self._columns, units, strict=True):
                if values is not units.rows:
                    column[here, :count] = values
            if not self._single:
                self._columns.rows[here, :count] = np.cumsum(units.rows, axis=1, dtype=np.int64)
                self._columns.rows[here, count:] = _NONE

    def _free_slots(self, needed: Column, count: int) -> Column:
        """The next that are not needed now, in turn; what they held is forgotten."""
        turn = np.roll(np.arange(len(self._block_in)), -self._hand)
        slots = turn[~np.isin(self._block_in[turn], needed)][:count]
        self._hand = (int(slots[-1]) + 1) % len(turn)
        held = self._block_in[slots]
        self._slot_of[held[held >= 0]] = -1
        self._block_in[slots] = -1
        return slots
