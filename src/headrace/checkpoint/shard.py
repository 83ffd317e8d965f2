"""One shard file in safetensors format: its header, writing it durably, reading ranges of it.

Format: an 8-byte little-endian length, a JSON header, the tensors' bytes without gaps
(huggingface/safetensors, README, "Format"). No torch: bytes in, bytes out.
"""

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import xxhash

from headrace.checkpoint import disk
from headrace.checkpoint.errors import DamagedCheckpoint
from headrace.checkpoint.manifest import ITEM_BYTES, FileEntry
from headrace.core.memory import aligned_memory

_VECTORS = 1024  # of one system call, IOV_MAX


class Placed(NamedTuple):
    """A tensor's bytes inside a shard; ``start`` counts from the first tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class _Tensor(Protocol):
    """What is known of a tensor before it is placed."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...


T = TypeVar("T", bound=_Tensor)


def widest_first(tensors: Iterable[T]) -> list[T]:
    """In this order every tensor of a file is aligned without gaps."""
    return sorted(tensors, key=lambda one: (-ITEM_BYTES[one.dtype], one.name))


def grouped(tensors: Iterable[T], file_bytes: int) -> list[list[T]]:
    """Files of up to ``file_bytes``; a larger tensor has one of its own."""
    groups: list[list[T]] = [[]]
    filled_bytes = 0
    for tensor in tensors:
        if groups[-1] and filled_bytes + tensor.size_bytes > file_bytes:
            groups.append([])
            filled_bytes = 0
        groups[-1].append(tensor)
        filled_bytes += tensor.size_bytes
    return groups


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
    with _as_damage(folder, name), disk.DiskFile(folder / name, os.O_RDONLY) as file:
        file.forget()
        _check_length(folder, name, entry, file.plain)
        buffer = memoryview(aligned_memory(min(disk.PIECE_BYTES, entry.size_bytes)))
        for start, stop in disk.pieces(entry.size_bytes):
            if file.read(buffer[: stop - start], start) < stop - start:
                raise _damaged(folder, name, "ends too early")
            while span is not None and span.start < stop:
                hasher.update(buffer[max(span.start - start, 0) : span.stop - start])
                if span.stop > stop:
                    break
                if hasher.hexdigest() != span.xxh3_128:
                    raise _damaged(folder, name, f"the hash of {span.what} differs")
                span, hasher = next(waiting, None), xxhash.xxh3_128()
    if span is not None:
        raise _damaged(folder, name, "ends too early")


def read_run(
    folder: Path, name: str, entry: FileEntry, wanted: Sequence[tuple[Span, memoryview]]
) -> None:
    """Fill each memory with its span of a file, and compare the hashes; spans follow each other.

    By way of the page cache: other ranks of this node read the same. Raise ``DamagedCheckpoint``.
    """
    with _as_damage(folder, name):
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check_length(folder, name, entry, descriptor)
            if not _fill(descriptor, [memory for _, memory in wanted], wanted[0][0].start):
                raise _damaged(folder, name, "ends too early")
        finally:
            os.close(descriptor)
    for span, memory in wanted:
        if xxhash.xxh3_128_hexdigest(memory) != span.xxh3_128:
            raise _damaged(folder, name, f"the hash of {span.what} differs")


def check_header(folder: Path, name: str, entry: FileEntry) -> None:
    """The quick check of a file: its length and header. Raise ``DamagedCheckpoint``."""
    span = Span("its header", 0, entry.header_bytes, entry.header_xxh3_128)
    read_run(folder, name, entry, [(span, memoryview(bytearray(entry.header_bytes)))])


def _fill(descriptor: int, memories: Sequence[memoryview], start: int) -> bool:
    """Read into one memory after the other. False when the file ends too early."""
    rest = deque(memory for memory in memories if memory)
    while rest:
        got = os.preadv(descriptor, list(islice(rest, _VECTORS)), start)
        if not got:
            return False
        start += got
        while rest and got >= len(rest[0]):
            got -= len(rest.popleft())
        if got:
            rest[0] = rest[0][got:]
    return True


def _check_length(folder: Path, name: str, entry: FileEntry, descriptor: int) -> None:
    size_bytes = os.fstat(descriptor).st_size
    if size_bytes != entry.size_bytes:
        raise _damaged(folder, name, f"has {size_bytes} bytes, not {entry.size_bytes}")


@contextmanager
def _as_damage(folder: Path, name: str) -> Iterator[None]:
    """A file that cannot be read is damage."""
    try:
        yield
    except FileNotFoundError as error:
        raise DamagedCheckpoint(folder, f"{name} is missing") from error
    except OSError as error:
        raise _damaged(folder, name, f"cannot be read: {error.strerror}") from error


def _damaged(folder: Path, name: str, reason: str) -> DamagedCheckpoint:
    return DamagedCheckpoint(folder, f"{name}: {reason}")


def _start(span: Span) -> int:
    return span.start
