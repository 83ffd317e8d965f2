"""Gzip members and Zstandard frames: where each ends, and what is in it.

Both are unpacked with a limit on what may come out, since a thousand bytes can hold a gigabyte.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from headrace.data.errors import DamagedData, PackageMissing
from headrace.data.formats.source import Source

SUFFIXES = (".gz", ".zst", ".zstd")
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
LIMIT_BYTES = 1 << 30
"""What one member may hold, unpacked."""
PIECE_BYTES = 1 << 16
TOO_MUCH = f"a member holds more than {LIMIT_BYTES} bytes; compress less in each"
BLOCK_BYTES = 1 << 17
"""What one block of a Zstandard frame holds at most."""
WINDOW_BYTES = 1 << 27
"""What a Zstandard frame may make its reader allocate (the default of ``zstd --decompress``)."""


class Member(NamedTuple):
    """One member or frame: it ends before ``stop``, and holds ``data``."""

    stop: int
    data: bytes


def is_packed(head: bytes) -> bool:
    """Whether a file that begins with these bytes is one of the two."""
    return head[:2] == GZIP or head[:4] == ZSTD or _is_skipped(head)


def members_of(source: Source) -> Iterator[Member]:
    """All of a file, in order. Raise ``DamagedData``, ``PackageMissing``."""
    at = 0
    while at < source.size:
        at, data = _member(source, at)
        yield Member(at, data)


def unpack(data: memoryview, file: str, start: int) -> Iterator[bytes]:
    """What a unit of whole members holds, member by member."""
    at = 0
    view = _View(data, Path(file), start)
    while at < view.size:
        at, text = _member(view, at)
        yield text


class _View:
    """Bytes in memory, with the face of a ``Source``."""

    def __init__(self, data: memoryview, path: Path, start: int) -> None:
        self._data, self._path, self._start, self.size = data, path, start, len(data)

    def read(self, start: int, size: int) -> memoryview:
        if start + size > self.size:
            raise self.damaged("it is cut off", start, start + size)
        return self._data[start : start + size]

    def damaged(self, why: str, start: int, stop: int) -> DamagedData:
        start, stop = start + self._start, stop + self._start
        return DamagedData(self._path, why, start=start, stop=stop)


def _member(source: Source | _View, at: int) -> tuple[int, bytes]:
    """(where it ends, what it holds) of the member that begins at ``at``."""
    head = bytes(source.read(at, min(8, source.size - at)))
    if _is_skipped(head):
        if len(head) < 8:
            raise source.damaged("it is cut off", at, source.size)
        size = 8 + int.from_bytes(head[4:8], "little")
        source.read(at + size, 0)
        return at + size, b""
    if head[:2] == GZIP:
        return _gzip(source, at)
    if head[:4] == ZSTD:
        return _zstd(source, at)
    raise source.damaged("no gzip member or Zstandard frame begins here", at, source.size)


def _zstd(source: Source | _View, at: int) -> tuple[int, bytes]:
    """Unpack one frame, whose end and largest content are known from the headers of its blocks."""
    try:
        import zstandard
    except ImportError:
        raise PackageMissing("zstandard", "Zstandard") from None
    stop, most = _frame(source, at)
    if most > LIMIT_BYTES:
        raise source.damaged(TOO_MUCH, at, stop)
    unpacker = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES).decompressobj()
    try:
        data = unpacker.decompress(source.read(at, stop - at))
    except zstandard.ZstdError as error:
        raise source.damaged(f"it cannot be unpacked: {error}", at, stop) from None
    if not unpacker.eof or unpacker.unused_data:
        raise source.damaged("a Zstandard frame does not end where its blocks do", at, stop)
    return stop, data


def _frame(source: Source | _View, at: int) -> tuple[int, int]:
    """(where the frame at ``at`` ends, bytes it can hold at most); RFC 8878, section 3.1.1."""
    descriptor = source.read(at + 4, 1)[0]
    content_size_bytes = (0, 2, 4, 8)[descriptor >> 6]
    one_segment = descriptor & 0x20
    if one_segment and not content_size_bytes:
        content_size_bytes = 1
    place = at + 5 + (0 if one_segment else 1) + (0, 1, 2, 4)[descriptor & 3] + content_size_bytes
    most, last = 0, False
    while not last:
        header = int.from_bytes(source.read(place, 3), "little")
        last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        if kind == 3:
            raise source.damaged("a Zstandard block is of no known type", place, place + 3)
        place += 3 + (1 if kind == 1 else size)
        most += BLOCK_BYTES if kind == 2 else size
    stop = place + (4 if descriptor & 4 else 0)
    source.read(stop, 0)
    return stop, most


def _gzip(source: Source | _View, at: int) -> tuple[int, bytes]:
    """Unpack one member, a piece at a time: its end is known only then."""
    unpacker = zlib.decompressobj(wbits=31)
    parts: list[bytes] = []
    held, start = 0, at
    while not unpacker.eof:
        if at == source.size:
            raise source.damaged("it is cut off: a member has no end", start, at)
        size = min(PIECE_BYTES, source.size - at)
        try:
            parts.append(unpacker.decompress(source.read(at, size)))
        except zlib.error as error:
            raise source.damaged(f"it cannot be unpacked: {error}", start, at + size) from None
        at += size
        held += len(parts[-1])
        if held > LIMIT_BYTES:
            raise source.damaged(TOO_MUCH, start, at)
    return at - len(unpacker.unused_data), b"".join(parts)


def _is_skipped(head: bytes) -> bool:
    """A skippable frame of Zstandard: length and anything."""
    return len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50
