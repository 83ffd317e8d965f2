"""An index, opened: where the samples of a data set lie, and the hash that each must have.

Beside the data it describes, or in the same file with them (a packed file). Opening reads header,
description and directories; units, names of files and documents are read when they are needed.
Every byte is verified before it is used.
"""

import os
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from headrace.core.records import Record
from headrace.data.errors import DamagedData
from headrace.data.files import DataFile
from headrace.data.sections import Blocks, Header, gaps, read_header, read_section
from headrace.data.units import Columns, Units, decode_units

_COUNT = struct.Struct("<Q")


class Piece(Record, frozen=True, kw_only=True):
    """``[start, stop)`` of one source: tokens of a document, or bytes of a file.

    With the byte tokenizer tokens are byte offsets in the file; ``stop`` may be one past its
    length, which is the end-of-document token.
    """

    source: str
    start: int
    stop: int


class Tokens(NamedTuple):
    """What the samples of a token set look like: ``window + 1`` tokens below ``vocab``."""

    dtype: np.dtype[np.unsignedinteger]
    window: int
    vocab: int


class Index:
    """Raise ``DataNotFound``, ``NotADataset``, ``DamagedData``."""

    def __init__(self, path: Path) -> None:
        self.file = DataFile(path)
        self.header: Header = read_header(self.file)
        self.meta: Mapping[str, Any] = msgspec.json.decode(
            read_section(self.file, self.header, "meta")
        )
        self.root = os.fsdecode(read_section(self.file, self.header, "root"))
        self._units = Blocks(self.file, self.header, "units")
        self._names = Blocks(self.file, self.header, "files")
        self._documents = Blocks(self.file, self.header, "docs")
        self.units = Units(self._units, units=self.header.units, samples=self.header.samples)
        self._named = (-1, b"")

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def format(self) -> str:
        return str(self.meta["format"])

    @property
    def fingerprint(self) -> str:
        return self.header.fingerprint.hex()

    @property
    def tokens(self) -> Tokens | None:
        """None where samples are no rows of tokens."""
        found = self.meta.get("tokens")
        if found is None:
            return None
        return Tokens(np.dtype(found["dtype"]), int(found["window"]), int(found["vocab"]))

    @property
    def files(self) -> int:
        return int(self._names.entries["count"].sum())

    def describe(self, number: int) -> tuple[str, int]:
        """(name relative to the data set's path, size in bytes) of a file."""
        if self.header.packed:
            return ".", self.header.file_bytes
        block = int(np.searchsorted(self._names.first, number, side="right")) - 1
        held, data = self._named
        if held != block:
            data = self._names.read(block)
            self._named = (block, data)
        return _decode_name(data, number - int(self._names.first[block]))

    def documents(self, start: int, stop: int) -> tuple[Piece, ...]:
        """Which documents tokens ``[start, stop)`` of the stream come from; empty without a table
        of documents."""
        first = self._documents.first
        if not len(first):
            return ()
        block = max(0, int(np.searchsorted(first, start, side="right")) - 1)
        found: list[Piece] = []
        while block < len(first) and int(first[block]) < stop:
            for begins, ends, name in _decode_documents(self._documents.read(block)):
                if begins < stop and ends > start:
                    found.append(
                        Piece(
                            source=name,
                            start=max(start, begins) - begins,
                            stop=min(stop, ends) - begins,
                        )
                    )
            block += 1
        return tuple(found)

    def unit_blocks(self) -> Iterator[Callable[[], tuple[int, Columns]]]:
        """For each block of units: read it, and give the number of its first sample, too. Raise
        ``DamagedData``, which leaves the other blocks readable."""
        for number, first in enumerate(self._units.first.tolist()):

            def read(number: int = number, first: int = first) -> tuple[int, Columns]:
                return first, decode_units(self._units.read(number))

            yield read

    def gaps(self) -> list[tuple[int, int]]:
        """Byte ranges of this file that hold nothing and must be zero."""
        tables = [self._units, self._names, self._documents]
        return list(gaps(self.file, self.header, tables))

    def damage(self) -> list[DamagedData]:
        """What is damaged in the tables of files and documents; units: see ``unit_blocks``."""
        found = []
        for table in (self._names, self._documents):
            for number in range(len(table)):
                try:
                    table.read(number)
                except DamagedData as error:
                    found.append(error)
        return found

    def close(self) -> None:
        self.file.close()


def encode_names(files: list[tuple[str, int]]) -> bytes:
    """A block of the table of files: count, sizes, then names that end in a zero byte."""
    sizes = np.array([size for _, size in files], "<u8").tobytes()
    names = b"".join(os.fsencode(name) + b"\0" for name, _ in files)
    return _COUNT.pack(len(files)) + sizes + names


def _decode_name(data: bytes, row: int) -> tuple[str, int]:
    count, size = _COUNT.unpack_from(data)[0], _COUNT.unpack_from(data, 8 + 8 * row)[0]
    names = data[8 + 8 * count :].split(b"\0", row + 1)
    return os.fsdecode(names[row]), size


def encode_documents(documents: list[tuple[int, int, str]]) -> bytes:
    """A block of the table of documents: count, starts and stops in the stream, then names."""
    starts = np.array([start for start, _, _ in documents], "<u8").tobytes()
    stops = np.array([stop for _, stop, _ in documents], "<u8").tobytes()
    names = b"".join(os.fsencode(name) + b"\0" for _, _, name in documents)
    return _COUNT.pack(len(documents)) + starts + stops + names


def _decode_documents(data: bytes) -> list[tuple[int, int, str]]:
    (count,) = _COUNT.unpack_from(data)
    starts = np.frombuffer(data, "<u8", count, 8).tolist()
    stops = np.frombuffer(data, "<u8", count, 8 + 8 * count).tolist()
    names = data[8 + 16 * count :].split(b"\0")
    return [
        (start, stop, os.fsdecode(name))
        for start, stop, name in zip(starts, stops, names, strict=False)
    ]
