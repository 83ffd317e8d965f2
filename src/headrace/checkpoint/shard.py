"""One shard file in safetensors format: its header, writing it durably, reading ranges of it.

Format: an 8-byte little-endian length, a JSON header, the tensors' bytes without gaps
(huggingface/safetensors, README, "Format"). No torch: bytes in, bytes out.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import xxhash

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


def encode_header(tensors: Sequence[Placed]) -> bytes:
    """Length and JSON header, padded with spaces to a multiple of 8."""
    header = {
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


def write_shard(
    path: Path, tensors: Sequence[Placed], data: memoryview
) -> tuple[FileEntry, list[str]]:
    """Write and flush a shard; ``data`` are the tensors' bytes. Return its entry and a hash each.

    Raise ``OSError``.
    """
    header = encode_header(tensors)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        _write(descriptor, memoryview(header), 0)
        hashes = [
            _write(descriptor, data[tensor.start : tensor.stop], len(header) + tensor.start)
            for tensor in tensors
        ]
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    entry = FileEntry(
        size_bytes=len(header) + len(data),
        header_bytes=len(header),
        header_xxh3_128=xxhash.xxh3_128_hexdigest(header),
    )
    return entry, hashes


def write_small(path: Path, data: bytes) -> None:
    """Write and flush a small new file. Raise ``OSError``."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        _write(descriptor, memoryview(data), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: memoryview, offset: int) -> str:
    """Write at an offset; return the hash of what was given."""
    hasher = xxhash.xxh3_128()
    for first in range(0, len(data), PIECE_BYTES):
        piece = data[first : first + PIECE_BYTES]
        hasher.update(piece)
        done = 0
        while done < len(piece):
            done += os.pwrite(descriptor, piece[done:], offset + first + done)
    return hasher.hexdigest()


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
