"""One shard file in safetensors format: its header, writing it durably, reading ranges of it.

Format: an 8-byte little-endian length, a JSON header, the tensors' bytes without gaps
(huggingface/safetensors, README, "Format"). No torch: bytes in, bytes out.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import xxhash

from headrace.checkpoint import disk
from headrace.checkpoint.errors import DamagedCheckpoint
from headrace.checkpoint.manifest import FileEntry

PIECE_BYTES = 8 << 20


class Placed(NamedTuple):
    """A tensor's bytes inside a shard; ``start`` counts from the first tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def encode_header(tensors: Sequence[Placed], metadata: Mapping[str, str] | None = None) -> bytes:
    """Length and JSON header, padded with spaces to a multiple of 8."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    header |= {
        tensor.name: {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [tensor.start, tensor.stop],
        }
        for tensor in tensors
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    return len(text).to_bytes(8, "little") + text


def hash_shard(
    data: memoryview, header_bytes: int, spans: Sequence[tuple[int, int]]
) -> tuple[FileEntry, list[str]]:
    """The entry of a shard, and the hash of each span of it. ``data``: the whole file."""
    hashes = [""] * len(spans)

    def hash_one(number: int) -> None:
        start, stop = spans[number]
        hashes[number] = xxhash.xxh3_128_hexdigest(data[start:stop])

    disk.in_parallel(partial(hash_one, number) for number in range(len(spans)))
    entry = FileEntry(
        size_bytes=len(data),
        header_bytes=header_bytes,
        header_xxh3_128=xxhash.xxh3_128_hexdigest(data[:header_bytes]),
    )
    return entry, hashes


def write_small(path: Path, data: bytes) -> None:
    """Write and flush a small new file. Raise ``OSError``."""
    disk.write_new(path, memoryview(data))


class Span(NamedTuple):
    """Bytes ``[start, stop)`` of a file, and their hash."""

    what: str
    start: int
    stop: int
    xxh3_128: str


def check_shard(folder: Path, name: str, entry: FileEntry, spans: Sequence[Span]) -> None:
    """Compare every hash in one pass over the file, read from the disk and not from memory.

    ``spans``: the tensors, without overlap. Raise ``DamagedCheckpoint``.
    """
    header = Span("its header", 0, entry.header_bytes, entry.header_xxh3_128)
    waiting = iter(sorted([header, *(one for one in spans if one.stop > one.start)], key=_start))
    span, hasher = next(waiting, None), xxhash.xxh3_128()
    try:
        with disk.DiskFile(folder / name, os.O_RDONLY) as file:
            file.forget()
            size_bytes = file.size_bytes()
            if size_bytes != entry.size_bytes:
                raise _damaged(folder, name, f"has {size_bytes} bytes, not {entry.size_bytes}")
            buffer = memoryview(disk.aligned_memory(min(disk.PIECE_BYTES, size_bytes)))
            for start, stop in disk.pieces(size_bytes):
                if file.read(buffer[: stop - start], start) < stop - start:
                    raise _damaged(folder, name, "ends too early")
                while span is not None and span.start < stop:
                    hasher.update(buffer[max(span.start - start, 0) : span.stop - start])
                    if span.stop > stop:
                        break
                    if hasher.hexdigest() != span.xxh3_128:
                        raise _damaged(folder, name, f"the hash of {span.what} differs")
                    span, hasher = next(waiting, None), xxhash.xxh3_128()
    except FileNotFoundError as error:
        raise _damaged(folder, name, "is missing") from error
    except OSError as error:
        raise _damaged(folder, name, f"cannot be read: {error.strerror}") from error
    if span is not None:
        raise _damaged(folder, name, "ends too early")


def _start(span: Span) -> int:
    return span.start


def _damaged(folder: Path, name: str, reason: str) -> DamagedCheckpoint:
    return DamagedCheckpoint(folder, f"{name}: {reason}")


class ShardReader:
    """Reads verified ranges of one shard. Raise ``DamagedCheckpoint`` for whatever is not right."""

    def __init__(self, folder: Path, name: str, entry: FileEntry) -> None:
        self._folder = folder
        self._name = name
        try:
            self._descriptor = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise DamagedCheckpoint(folder, f"{name} is missing") from error
        except OSError as error:
            raise self._damaged(f"cannot be opened: {error.strerror}") from error
        try:
            size_bytes = os.fstat(self._descriptor).st_size
            if size_bytes != entry.size_bytes:
                raise self._damaged(f"has {size_bytes} bytes, not {entry.size_bytes}")
            self.check("its header", 0, entry.header_bytes, entry.header_xxh3_128)
        except DamagedCheckpoint:
            self.close()
            raise

    def __enter__(self) -> "ShardReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._descriptor)

    def read_into(self, what: str, buffer: memoryview, start: int, digest: str) -> None:
        """Fill ``buffer`` from ``start`` on, and compare its hash."""
        hasher = xxhash.xxh3_128()
        for first in range(0, len(buffer), PIECE_BYTES):
            piece = buffer[first : first + PIECE_BYTES]
            self._fill(piece, start + first)
            hasher.update(piece)
        if hasher.hexdigest() != digest:
            raise self._damaged(f"the hash of {what} differs")

    def check(self, what: str, start: int, stop: int, digest: str) -> None:
        """Compare the hash of bytes ``[start, stop)`` in bounded memory."""
        hasher = xxhash.xxh3_128()
        for piece in self._pieces(start, stop):
            hasher.update(piece)
        if hasher.hexdigest() != digest:
            raise self._damaged(f"the hash of {what} differs")

    def _pieces(self, start: int, stop: int) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(min(PIECE_BYTES, max(0, stop - start))))
        for first in range(start, stop, PIECE_BYTES):
            piece = buffer[: min(PIECE_BYTES, stop - first)]
            self._fill(piece, first)
            yield piece

    def _fill(self, buffer: memoryview, start: int) -> None:
        done = 0
        while done < len(buffer):
            try:
                got = os.preadv(self._descriptor, [buffer[done:]], start + done)
            except OSError as error:
                raise self._damaged(f"cannot be read: {error.strerror}") from error
            if not got:
                raise self._damaged("ends too early")
            done += got

    def _damaged(self, reason: str) -> DamagedCheckpoint:
        return DamagedCheckpoint(self._folder, f"{self._name}: {reason}")
