"""The packed token file: its bytes, and a reader that never returns a token that was not written.

The layout is described byte by byte in docs/reference/packed-tokens.md. Windows lie in blocks of
equal size; each block has a checksum in the index, the index has one in the header, the header has
one of itself. Blocks are read with ``pread`` (memory maps stall on Lustre and cannot report an I/O
error), verified, and kept in a bounded cache as verified memory; what has left the cache is read
and verified again. Writing is in ``headrace.data.pack``.
"""

import os
import struct
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from headrace.data.dataset import Piece, Tokens
from headrace.data.errors import BatchesRefused, DamagedData, DataNotFound, NotADataset
from headrace.data.order import Indices

MAGIC = b"HRTOKENS"
VERSION = 1
HEADER_BYTES = 4096
ALIGNMENT_BYTES = 4096
DEFAULT_CACHE_BYTES = 64 << 20
_BLOCK_LEAST_BYTES = 16 << 10
_BLOCK_MOST_BYTES = 128 << 10
_PADDING_MOST = 0.05
_FIELDS = struct.Struct("<8sII10Q16s64s")
_HASHED_BYTES = HEADER_BYTES - 16


@dataclass(frozen=True, kw_only=True)
class Header:
    """The first 4096 bytes of a packed token file."""

    token_bytes: int
    window: int
    windows: int
    vocab: int
    end_of_document: int
    block_bytes: int
    windows_per_block: int
    documents: int
    tokens: int
    index_offset: int
    index_bytes: int
    index_digest: bytes
    tokenizer: str

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        return np.dtype("<u2") if self.token_bytes == 2 else np.dtype("<u4")

    @property
    def blocks(self) -> int:
        return -(-self.windows // self.windows_per_block)

    def encode(self) -> bytes:
        fields = _FIELDS.pack(
            MAGIC,
            VERSION,
            self.token_bytes,
            self.window,
            self.windows,
            self.vocab,
            self.end_of_document,
            self.block_bytes,
            self.windows_per_block,
            self.documents,
            self.tokens,
            self.index_offset,
            self.index_bytes,
            self.index_digest,
            self.tokenizer.encode("ascii"),
        ).ljust(_HASHED_BYTES, b"\0")
        return fields + xxhash.xxh3_128_digest(fields)


@dataclass(frozen=True)
class Index:
    """Checksums of blocks and the table of documents.

    ``starts`` has one entry a document and one for the end: offsets in the stream of tokens.
    """

    checksums: NDArray[np.uint64]
    starts: NDArray[np.uint64]
    sources: tuple[str, ...]

    def encode(self) -> bytes:
        names = b"".join(os.fsencode(source) + b"\0" for source in self.sources)
        return self.checksums.astype("<u8").tobytes() + self.starts.astype("<u8").tobytes() + names


def block_shape(window: int, token_bytes: int) -> tuple[int, int]:
    """``(windows in a block, bytes of a block)``.

    The smallest block from 16 to 128 KiB of which at most 5 % is padding, else the one with least:
    a window that is read alone costs its whole block. A longer window is a block of its own.
    """
    window_bytes = (window + 1) * token_bytes
    fewest = max(1, _BLOCK_LEAST_BYTES // window_bytes)
    most = max(1, _BLOCK_MOST_BYTES // window_bytes)
    padding = {
        count: _aligned(count * window_bytes) / (count * window_bytes) - 1
        for count in range(fewest, most + 1)
    }
    low = [count for count, share in padding.items() if share <= _PADDING_MOST]
    best = min(low) if low else min(padding, key=padding.__getitem__)
    return best, _aligned(best * window_bytes)


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


class PackedTokens:
    """A packed token file, opened for reading. Raise ``DamagedData`` when it is not whole.

    ``split``: the part of the windows to offer, as fractions; ``(0, 0.9)`` and ``(0.9, 1)`` have no
    window in common. Neighbouring windows share one token: the last target of one is the first
    input of the next.
    """

    def __init__(
        self,
        path: Path,
        *,
        split: tuple[float, float] | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        self.path = path
        self._file = _File(path)
        self.header = _read_header(self._file)
        self.index = _read_index(self._file, self.header)
        self._first, stop = _split_range(split, self.header.windows)
        self._length = stop - self._first
        self._cached_blocks = max(1, cache_bytes // self.header.block_bytes)
        self._cache: OrderedDict[int, Tokens] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def window(self) -> int:
        return self.header.window

    @property
    def vocab(self) -> int:
        return self.header.vocab

    @property
    def fingerprint(self) -> str:
        whole = xxhash.xxh3_128_hexdigest(self.header.encode())
        if self._length == self.header.windows:
            return whole
        return f"{whole}:{self._first}-{self._first + self._length}"

    def __len__(self) -> int:
        return self._length

    def read(self, indices: Indices) -> Tokens:
        """See ``TokenDataset.read``. Tokens are uint16 or uint32, as in the file."""
        wanted = np.asarray(indices, dtype=np.int64)
        samples = np.empty((wanted.size, self.window + 1), self.header.dtype)
        if not wanted.size:
            return samples
        if not (wanted.min() >= 0 and wanted.max() < self._length):
            raise IndexError(f"sample indices must be in [0, {self._length})")
        blocks, rows = np.divmod(wanted + self._first, self.header.windows_per_block)
        order = np.argsort(blocks, kind="stable")
        numbers, firsts = np.unique(blocks[order], return_index=True)
        for block, here in zip(numbers.tolist(), np.split(order, firsts[1:]), strict=True):
            samples[here] = self._block(block)[rows[here]]
        return samples

    def origin(self, index: int) -> tuple[Piece, ...]:
        if not 0 <= index < self._length:
            raise IndexError(f"sample indices must be in [0, {self._length})")
        start = (self._first + index) * self.window
        stop = start + self.window + 1
        starts = self.index.starts
        first = int(np.searchsorted(starts, start, side="right")) - 1
        last = int(np.searchsorted(starts, stop, side="left"))
        return tuple(
            Piece(
                source=self.index.sources[number],
                start=max(start, int(starts[number])) - int(starts[number]),
                stop=min(stop, int(starts[number + 1])) - int(starts[number]),
            )
            for number in range(first, last)
        )

    def damage(self) -> list[DamagedData]:
        """Read the whole file and return what is damaged in it, block by block."""
        found = []
        for block in range(self.header.blocks):
            try:
                self._read_block(block)
            except DamagedData as error:
                found.append(error)
        return found

    def close(self) -> None:
        """Close the file. Reading afterwards raises ``OSError``."""
        self._file.close()

    def _block(self, block: int) -> Tokens:
        with self._lock:
            cached = self._cache.get(block)
            if cached is not None:
                self._cache.move_to_end(block)
                return cached
        windows = self._read_block(block)
        with self._lock:
            self._cache[block] = windows
            while len(self._cache) > self._cached_blocks:
                self._cache.popitem(last=False)
        return windows

    def _read_block(self, block: int) -> Tokens:
        header = self.header
        start = HEADER_BYTES + block * header.block_bytes
        data = self._file.read(start, header.block_bytes, block=block)
        if xxhash.xxh3_64_intdigest(data) != int(self.index.checksums[block]):
            raise self._file.damaged("the checksum differs", start, header.block_bytes, block)
        tokens = np.frombuffer(
            data, header.dtype, count=header.windows_per_block * (header.window + 1)
        )
        return tokens.reshape(header.windows_per_block, header.window + 1)


class _File:
    """Reads by offset from one descriptor; closes it when nobody holds the file any more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise DataNotFound(path) from error
        except OSError as error:
            raise NotADataset(path, f"it cannot be opened: {error.strerror}") from error
        self.close = weakref.finalize(self, os.close, self._descriptor)
        self.size_bytes = os.fstat(self._descriptor).st_size

    def damaged(self, why: str, start: int, size: int, block: int | None = None) -> DamagedData:
        return DamagedData(self.path, why, start=start, stop=start + size, block=block)

    def read(self, start: int, size: int, *, block: int | None = None) -> bytes:
        if not self.close.alive:
            raise OSError(f"{self.path} is closed")
        parts, got = [], 0
        while got < size:
            try:
                part = os.pread(self._descriptor, size - got, start + got)
            except OSError as error:
                raise self.damaged(f"reading failed: {error.strerror}", start, size, block) from (
                    error
                )
            if not part:
                raise self.damaged("the file ends before", start, size, block)
            parts.append(part)
            got += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _read_header(file: _File) -> Header:
    if file.size_bytes < len(MAGIC) or file.read(0, len(MAGIC)) != MAGIC:
        raise NotADataset(file.path, "it does not begin as a packed token file does")
    if file.size_bytes < HEADER_BYTES:
        raise file.damaged("the file is shorter than its header", 0, file.size_bytes)
    data = file.read(0, HEADER_BYTES)
    _, version, token_bytes, *numbers, index_digest, tokenizer = _FIELDS.unpack_from(data)
    if xxhash.xxh3_128_digest(data[:_HASHED_BYTES]) != data[_HASHED_BYTES:]:
        raise file.damaged("the checksum of the header differs", 0, HEADER_BYTES)
    if version != VERSION:
        raise NotADataset(file.path, f"it has version {version}; this Headrace reads {VERSION}")
    header = Header(
        token_bytes=token_bytes,
        window=numbers[0],
        windows=numbers[1],
        vocab=numbers[2],
        end_of_document=numbers[3],
        block_bytes=numbers[4],
        windows_per_block=numbers[5],
        documents=numbers[6],
        tokens=numbers[7],
        index_offset=numbers[8],
        index_bytes=numbers[9],
        index_digest=index_digest,
        tokenizer=tokenizer.rstrip(b"\0").decode("ascii"),
    )
    end = header.index_offset + header.index_bytes
    if file.size_bytes != end:
        raise file.damaged(
            f"the file has {file.size_bytes} bytes, its header says {end}",
            min(file.size_bytes, end),
            abs(file.size_bytes - end),
        )
    return header


def _read_index(file: _File, header: Header) -> Index:
    data = file.read(header.index_offset, header.index_bytes)
    if xxhash.xxh3_128_digest(data) != header.index_digest:
        raise file.damaged(
            "the checksum of the index differs", header.index_offset, header.index_bytes
        )
    checksums = np.frombuffer(data, "<u8", count=header.blocks)
    starts = np.frombuffer(data, "<u8", count=header.documents + 1, offset=checksums.nbytes)
    names = data[checksums.nbytes + starts.nbytes :].split(b"\0")[:-1]
    return Index(checksums, starts, tuple(os.fsdecode(name) for name in names))


def _split_range(split: tuple[float, float] | None, windows: int) -> tuple[int, int]:
    low, high = split or (0.0, 1.0)
    if not 0.0 <= low <= high <= 1.0:
        raise BatchesRefused(
            f"split ({low:g}, {high:g}) is not a part of a data set",
            why="a split is two fractions, 0 <= start <= stop <= 1",
            remedy="for example split=(0.0, 0.9) to train and (0.9, 1.0) to evaluate",
        )
    return round(low * windows), round(high * windows)
