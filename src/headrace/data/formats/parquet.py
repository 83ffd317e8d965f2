"""Parquet: a unit is a row group, from its first page to its last.

The footers, without which no row group can be decoded, become part of the index: what pyarrow gets
to see at reading are those and verified bytes, never the file.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from headrace.data.errors import DamagedData, NotADataset
from headrace.data.formats import tables, thrift
from headrace.data.formats.format import Decode, Options, Scan, Unit
from headrace.data.formats.listing import any_of, legible, listing, located
from headrace.data.formats.source import Source

if TYPE_CHECKING:
    import pyarrow.parquet as pq

SUFFIXES = (".parquet", ".pq")
MAGIC = b"PAR1"
FOOTER_BYTES = 1 << 26
FILE_ROWS, ROW_GROUPS = 3, 4
COLUMNS, GROUP_BYTES, GROUP_ROWS = 1, 2, 3
COLUMN, ELSEWHERE = 3, (1, 8, 9)
COMPRESSED_BYTES, DATA_PAGE, DICTIONARY_PAGE = 7, 9, 11
"""Fields of FileMetaData, RowGroup, ColumnChunk and ColumnMetaData in parquet.thrift of
apache/parquet-format."""


class Footer(TypedDict):
    """``starts``: where each row group begins, -1 for one without rows."""

    footer: str
    starts: list[int]


class Parquet:
    """A sample is a row: {column: value}."""

    name = "parquet"

    def claims(self, path: Path) -> bool:
        return any_of(path, SUFFIXES)

    def scan(self, path: Path, options: Options) -> Scan:
        tables.pyarrow("Parquet")
        files = listing(path, SUFFIXES, options.glob)
        units: list[Unit] = []
        footers: dict[str, Footer] = {}
        for number, name in enumerate(files):
            with Source(located(path, name)) as source:
                footer = _footer(source)
                groups = _groups(source, footer)
            units += [Unit(number, start, size, rows) for start, size, rows in groups if rows]
            starts = [start if rows else -1 for start, _, rows in groups]
            footers[legible(name)] = {"footer": tables.to_text(footer), "starts": starts}
        return Scan(
            files=files,
            units=units,
            meta={"footers": footers},
        )

    def decoder(self, meta: Mapping[str, Any]) -> Decode:
        tables.pyarrow("Parquet")
        footers: Mapping[str, Footer] = meta["footers"]
        parsed: dict[str, pq.FileMetaData] = {}

        def decode(data: memoryview, file: str, start: int) -> list[dict[str, Any]]:
            known = footers[legible(file)]
            if file not in parsed:
                parsed[file] = _metadata(tables.from_text(known["footer"]))
            number = known["starts"].index(start)
            return _rows(parsed[file], number, data, Path(file), start)

        return decode


def _footer(source: Source) -> bytes:
    """The metadata at the end of the file, with its length and magic bytes."""
    if source.size < 12 or source.read(0, 4) not in (MAGIC, b"PARE"):
        raise NotADataset(source.path, "it does not begin as a Parquet file does")
    tail = source.read(source.size - 8, 8)
    if tail[4:] == b"PARE":
        raise NotADataset(source.path, "it is an encrypted Parquet file")
    size = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or size > min(source.size - 12, FOOTER_BYTES):
        raise source.damaged(
            "it does not end with a footer: it was cut off", source.size - 8, source.size
        )
    return source.read(source.size - 8 - size, size + 8)


def _metadata(footer: bytes) -> "pq.FileMetaData":
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.read_metadata(pa.BufferReader(MAGIC + footer))


def _groups(source: Source, footer: bytes) -> list[tuple[int, int, int]]:
    """(start, size, rows) of each row group, in order, apart from each other and from the footer;
    of one without rows or columns, zeros."""
    try:
        tables.check_columns(source.path, _metadata(footer).schema.to_arrow_schema())
        file = thrift.read_struct(footer)
        found = [_extent(group) for group in file.get(ROW_GROUPS, [])]
        sizes = [group.get(GROUP_BYTES, 0) for group in file.get(ROW_GROUPS, [])]
        rows = file[FILE_ROWS]
    except tables.faults() as error:
        why = f"its footer cannot be read: {error}"
        raise source.damaged(why, source.size - len(footer)) from None
    if sum(count for _, _, count in found) != rows:
        raise source.damaged(f"its row groups have not the {rows} rows it says")
    at = len(MAGIC)
    for number, ((start, size, count), held) in enumerate(zip(found, sizes, strict=True)):
        if count:
            if not at <= start < start + size <= source.size - len(footer):
                raise source.damaged(f"row group {number} is not where it can be", start)
            tables.check_size(source.path, f"row group {number}", count, held)
            at = start + size
    return found


def _extent(group: thrift.Struct) -> tuple[int, int, int]:
    """(start, size, rows) of the pages of all columns of a row group."""
    rows = group[GROUP_ROWS]
    if rows < 0:
        raise ValueError("a row group has a negative number of rows")
    starts, stops = [], []
    for column in group[COLUMNS] if rows else ():
        if any(field in column for field in ELSEWHERE):
            raise ValueError("a column is encrypted, or lies in another file")
        pages = column[COLUMN]
        start = pages[DATA_PAGE]
        if 0 < pages.get(DICTIONARY_PAGE, 0) < start:
            start = pages[DICTIONARY_PAGE]
        starts.append(start)
        stops.append(start + max(0, pages[COMPRESSED_BYTES]))
    return (min(starts), max(stops) - min(starts), rows) if starts else (0, 0, 0)


def _rows(
    metadata: "pq.FileMetaData", number: int, data: memoryview, path: Path, start: int
) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    window = pa.PythonFile(_Window(data, start), mode="r")
    try:
        file = pq.ParquetFile(
            window, metadata=metadata, pre_buffer=False, page_checksum_verification=True
        )
        table = file.read_row_group(number, use_threads=False)
        table.validate(full=True)
        rows = tables.rows_of(table)
    except tables.faults() as error:
        why = f"row group {number} cannot be decoded: {error}"
        raise _damaged(path, why, start, start + len(data)) from None
    wanted = metadata.row_group(number).num_rows
    if len(rows) != wanted:
        why = f"row group {number} has {len(rows)} rows; the footer says {wanted}"
        raise _damaged(path, why, start, start + len(data))
    return rows


class _Window(io.RawIOBase):
    """A file of which only the bytes ``[start, start + len(data))`` can be read."""

    def __init__(self, data: memoryview, start: int) -> None:
        super().__init__()
        self._data, self._start, self._at = data, start, 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = (0, self._at, self._start + len(self._data))[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        at = self._at - self._start
        if size < 0 or at < 0 or at + size > len(self._data):
            raise OSError(f"{size} bytes at {self._at} are not part of the row group")
        self._at += size
        return bytes(self._data[at : at + size])


def _damaged(path: Path, why: str, start: int, stop: int) -> DamagedData:
    return DamagedData(path, why, start=start, stop=stop)
