"""Parquet: a unit is a row group, from its first page to its last.

The footers, without which no row group can be decoded, become part of the index: what pyarrow gets
to see at reading are those and verified bytes, never the file.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.data.errors import DamagedData, NotADataset
from headrace.data.formats import tables
from headrace.data.formats.format import Decode, Options, Scan, Unit
from headrace.data.formats.listing import any_of, legible, listing, located
from headrace.data.formats.source import Source

if TYPE_CHECKING:
    import pyarrow.parquet as pq

SUFFIXES = (".parquet", ".pq")
MAGIC = b"PAR1"
FOOTER_BYTES = 1 << 28


class Parquet:
    """A sample is a row: {column: value}."""

    name = "parquet"

    def claims(self, path: Path) -> bool:
        return any_of(path, SUFFIXES)

    def scan(self, path: Path, options: Options) -> Scan:
        tables.pyarrow("Parquet")
        files = listing(path, SUFFIXES, options.glob)
        units: list[Unit] = []
        footers: dict[str, str] = {}
        for number, name in enumerate(files):
            with Source(located(path, name)) as source:
                footer = _footer(source)
                try:
                    groups = _groups(source, _metadata(footer), len(footer))
                except tables.faults() as error:
                    raise source.damaged(
                        f"its footer cannot be read: {error}", source.size - len(footer)
                    ) from None
            units += [Unit(number, start, size, rows) for start, size, rows in groups if rows]
            footers[legible(name)] = tables.to_text(footer)
        largest = max((unit.size for unit in units), default=0)
        return Scan(
            files=files,
            units=units,
            meta={"footers": footers},
            advice=tables.advice("row group", largest),
        )

    def decoder(self, meta: Mapping[str, Any]) -> Decode:
        tables.pyarrow("Parquet")
        parsed: dict[str, tuple[pq.FileMetaData, dict[int, int]]] = {}

        def decode(data: memoryview, file: str, start: int) -> list[dict[str, Any]]:
            if file not in parsed:
                found = _metadata(tables.from_text(meta["footers"][legible(file)]))
                starts = {_extent(found, n)[0]: n for n in _filled(found)}
                parsed[file] = found, starts
            metadata, groups = parsed[file]
            return _rows(metadata, groups[start], data, Path(file), start)

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


def _groups(
    source: Source, metadata: "pq.FileMetaData", footer_bytes: int
) -> list[tuple[int, int, int]]:
    """(start, size, rows) of each row group, in order, apart from each other and from the
    footer."""
    tables.check_columns(source.path, metadata.schema.to_arrow_schema())
    found, at = [], len(MAGIC)
    for number in _filled(metadata):
        group = metadata.row_group(number)
        start, stop = _extent(metadata, number)
        if not at <= start < stop <= source.size - footer_bytes:
            raise source.damaged(f"row group {number} is not where it can be", start, stop)
        tables.check_size(source.path, f"row group {number}", group.num_rows, group.total_byte_size)
        found.append((start, stop - start, group.num_rows))
        at = stop
    if any(metadata.row_group(n).num_rows < 0 for n in range(metadata.num_row_groups)):
        raise source.damaged("a row group has a negative number of rows")
    if sum(rows for _, _, rows in found) != metadata.num_rows:
        raise source.damaged(f"its row groups have not the {metadata.num_rows} rows it says")
    return found


def _filled(metadata: "pq.FileMetaData") -> list[int]:
    """The row groups that have rows and columns."""
    numbers = range(metadata.num_row_groups) if metadata.num_columns else range(0)
    return [number for number in numbers if metadata.row_group(number).num_rows > 0]


def _extent(metadata: "pq.FileMetaData", number: int) -> tuple[int, int]:
    """(start, stop) of the pages of all columns of a row group; (0, 0) when they lie elsewhere."""
    group = metadata.row_group(number)
    starts, stops = [], []
    for place in range(group.num_columns):
        column = group.column(place)
        start = column.data_page_offset
        if column.has_dictionary_page and 0 < column.dictionary_page_offset < start:
            start = column.dictionary_page_offset
        if column.file_path or column.total_compressed_size < 0:
            return 0, 0
        starts.append(start)
        stops.append(start + column.total_compressed_size)
    return (min(starts), max(stops)) if starts else (0, 0)


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
    return DamagedData(path, why, start=start, stop=stop, block=None)
