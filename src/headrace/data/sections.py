"""The frame of an index file and of a packed file: header, sections, blocks with a checksum each.

Byte by byte in docs/reference/data-index.md. The header holds a hash of itself and of each section;
a section is read whole when the file is opened. Long tables (units, files, documents) lie outside
the sections, in blocks of 256 rows: their section is a directory of these blocks with a checksum of
each, so that opening costs little and any row can be had by one verified read.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from headrace.data.errors import NotADataset
from headrace.data.files import DataFile

MAGIC = b"HRDATA\r\n"
VERSION = 2
HEADER_BYTES = 4096
ROWS_PER_BLOCK = 256
_HASHED_BYTES = HEADER_BYTES - 16
_FIELDS = struct.Struct("<8sIIQQQQQ16s")
_SECTION = struct.Struct("<8sQQ16s")
_FIRST_SECTION = 128
ENTRY = np.dtype(
    [("offset", "<u8"), ("first", "<u8"), ("digest", "<u8"), ("size", "<u4"), ("count", "<u4")]
)
"""One block in a directory. ``first``: the number of its first sample, file or token."""

Entries = NDArray[np.void]


class Section(NamedTuple):
    offset: int
    size: int
    digest: bytes


@dataclass(frozen=True, kw_only=True)
class Header:
    """The first 4096 bytes. ``data_start`` and ``data_stop`` are 0 where data lie elsewhere."""

    file_bytes: int
    samples: int
    units: int
    data_start: int
    data_stop: int
    fingerprint: bytes
    sections: Mapping[str, Section]

    @property
    def packed(self) -> bool:
        return self.data_start > 0

    def encode(self) -> bytes:
        fields = _FIELDS.pack(
            MAGIC,
            VERSION,
            len(self.sections),
            self.file_bytes,
            self.samples,
            self.units,
            self.data_start,
            self.data_stop,
            self.fingerprint,
        ).ljust(_FIRST_SECTION, b"\0")
        for name, section in self.sections.items():
            fields += _SECTION.pack(name.encode("ascii"), *section)
        fields = fields.ljust(_HASHED_BYTES, b"\0")
        return fields + xxhash.xxh3_128_digest(fields)


def is_ours(file: DataFile) -> bool:
    """Whether the file begins as ours do."""
    return file.size_bytes >= len(MAGIC) and file.read(0, len(MAGIC)) == MAGIC


def is_ours_at(path: Path) -> bool:
    """``is_ours`` of a file that is there."""
    file = DataFile(path)
    try:
        return is_ours(file)
    finally:
        file.close()


def read_header(file: DataFile) -> Header:
    """Raise ``NotADataset`` (another kind or version of file) or ``DamagedData``."""
    if not is_ours(file):
        raise NotADataset(file.path, "it does not begin as an index or a packed file does")
    if file.size_bytes < HEADER_BYTES:
        raise file.damaged("the file is shorter than its header", 0, file.size_bytes)
    data = file.read(0, HEADER_BYTES)
    _, version, count, *numbers, fingerprint = _FIELDS.unpack_from(data)
    if xxhash.xxh3_128_digest(data[:_HASHED_BYTES]) != data[_HASHED_BYTES:]:
        raise file.damaged("the checksum of the header differs", 0, HEADER_BYTES)
    if version != VERSION:
        raise NotADataset(file.path, f"it has version {version}; this Headrace reads {VERSION}")
    sections = {}
    for number in range(count):
        name, *rest = _SECTION.unpack_from(data, _FIRST_SECTION + number * _SECTION.size)
        sections[name.rstrip(b"\0").decode("ascii")] = Section(*rest)
    header = Header(
        file_bytes=numbers[0],
        samples=numbers[1],
        units=numbers[2],
        data_start=numbers[3],
        data_stop=numbers[4],
        fingerprint=fingerprint,
        sections=sections,
    )
    if file.size_bytes != header.file_bytes:
        raise file.damaged(
            f"the file has {file.size_bytes} bytes, its header says {header.file_bytes}",
            min(file.size_bytes, header.file_bytes),
            abs(file.size_bytes - header.file_bytes),
        )
    return header


def read_section(file: DataFile, header: Header, name: str) -> bytes:
    """Empty where there is no such section. Raise ``DamagedData``."""
    section = header.sections.get(name)
    if section is None:
        return b""
    data = file.read(section.offset, section.size)
    if xxhash.xxh3_128_digest(data) != section.digest:
        raise file.damaged(f"the checksum of section {name} differs", section.offset, section.size)
    return data


class Blocks:
    """A table in blocks, read and verified one at a time. Keeps nothing."""

    def __init__(self, file: DataFile, header: Header, name: str) -> None:
        self._file = file
        self.name = name
        self.entries: Entries = np.frombuffer(read_section(file, header, name), ENTRY)
        self.first = self.entries["first"].astype(np.int64)

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, number: int) -> bytes:
        """Raise ``DamagedData``."""
        return bytes(self.read_equal(np.array([number]))[0].data)

    def read_equal(self, numbers: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """Blocks of equal size, of shape [len(numbers), size]. Raise ``DamagedData``."""
        entries = self.entries[numbers]
        size = int(entries["size"][0])
        memory = np.empty((len(numbers), size), np.uint8)
        rows = memory.data.cast("B") if size else memoryview(b"")
        for row, (number, offset, digest) in enumerate(
            zip(
                numbers.tolist(),
                entries["offset"].tolist(),
                entries["digest"].tolist(),
                strict=True,
            )
        ):
            block = rows[row * size : (row + 1) * size]
            self._file.fill(block, offset)
            if xxhash.xxh3_64_intdigest(block) != digest:
                raise self._file.damaged(
                    f"the checksum of block {number} of {self.name} differs", offset, size
                )
        return memory


class BlockWriter:
    """Appends blocks to ``spool``, from where ``headrace.data.index_writer`` copies them."""

    def __init__(self, spool: BinaryIO) -> None:
        self._spool = spool
        self._entries: list[tuple[int, int, int, int, int]] = []

    def add(self, data: bytes, *, first: int, count: int) -> None:
        digest = xxhash.xxh3_64_intdigest(data)
        self._entries.append((self._spool.tell(), first, digest, len(data), count))
        self._spool.write(data)

    def directory(self, base: int) -> bytes:
        """The section, when the spool's first byte comes to lie at ``base``."""
        entries = np.array(self._entries, ENTRY)
        entries["offset"] += np.uint64(base)
        return entries.tobytes()


def gaps(file: DataFile, header: Header, tables: "list[Blocks]") -> Iterator[tuple[int, int]]:
    """(start, stop) of what nothing but data covers; such bytes are zeros, or damaged."""
    used = [(0, HEADER_BYTES), (header.data_start, header.data_stop)]
    used += [
        (section.offset, section.offset + section.size) for section in header.sections.values()
    ]
    for table in tables:
        offsets = table.entries["offset"].astype(np.int64)
        used += zip(offsets.tolist(), (offsets + table.entries["size"]).tolist(), strict=True)
    reached = 0
    for start, stop in sorted(used):
        if start > reached:
            yield reached, start
        reached = max(reached, stop)
    if reached < file.size_bytes:
        yield reached, file.size_bytes
