"""Arrow IPC, stream and file: what Hugging Face datasets keep on disk. A unit is a record batch.

A message: u32 0xFFFFFFFF, i32 length of its header, the header (a FlatBuffer), the body. A stream:
the schema, dictionaries, record batches, an end mark. A file: ``ARROW1\\0\\0``, a stream, a footer
that lists its messages. Source: "Serialization and Interprocess Communication" in Arrow's columnar
format. Schema and dictionaries become part of the index, so that only verified bytes are decoded.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from headrace.data.errors import DamagedData, IndexRefused, NotADataset
from headrace.data.formats import tables
from headrace.data.formats.flatbuffer import Table
from headrace.data.formats.format import Decode, Options, Scan, Unit
from headrace.data.formats.listing import any_of, legible, listing, located
from headrace.data.formats.source import Source

SUFFIXES = (".arrow", ".feather")
MAGIC = b"ARROW1"
CONTINUES = b"\xff\xff\xff\xff"
END = CONTINUES + bytes(4)
HEADER_BYTES = 1 << 26
DICTIONARY_BYTES = 1 << 24
"""What the schema and the dictionaries of a file may take in the index."""
SCHEMA, DICTIONARY, BATCH = 1, 2, 3


class Message(NamedTuple):
    """``body``: where it begins; ``header``: the message's own table."""

    kind: int
    start: int
    body: int
    stop: int
    header: Table


class Arrow:
    """A sample is a row: {column: value}."""

    name = "arrow"

    def claims(self, path: Path) -> bool:
        return any_of(path, SUFFIXES)

    def scan(self, path: Path, options: Options) -> Scan:
        tables.pyarrow("Arrow")
        files = listing(path, SUFFIXES, options.glob)
        units: list[Unit] = []
        prefixes: dict[bytes, int] = {}
        chosen: dict[str, int] = {}
        for number, name in enumerate(files):
            with Source(located(path, name)) as source:
                prefix, batches = _read(source)
            chosen[legible(name)] = prefixes.setdefault(prefix, len(prefixes))
            units += [Unit(number, start, size, rows) for start, size, rows in batches]
        return Scan(
            files=files,
            units=units,
            meta={"prefixes": [tables.to_text(prefix) for prefix in prefixes], "files": chosen},
        )

    def decoder(self, meta: Mapping[str, Any]) -> Decode:
        pa = tables.pyarrow("Arrow")
        prefixes = [tables.from_text(prefix) for prefix in meta["prefixes"]]
        files: Mapping[str, int] = meta["files"]

        def decode(data: memoryview, file: str, start: int) -> list[dict[str, Any]]:
            stream = pa.py_buffer(b"".join((prefixes[files[legible(file)]], data, END)))
            try:
                (batch,) = pa.ipc.open_stream(stream)
                batch.validate(full=True)
                return tables.rows_of(batch)
            except tables.faults() as error:
                raise DamagedData(
                    Path(file),
                    f"a record batch cannot be decoded: {error}",
                    start=start,
                    stop=start + len(data),
                ) from None

        return decode


def _read(source: Source) -> tuple[bytes, list[tuple[int, int, int]]]:
    """(schema and dictionaries as a stream, (start, size, rows) of each batch) of one file."""
    filed = source.read(0, min(6, source.size)) == MAGIC
    try:
        found = list(_messages(source, 8 if filed else 0))
        if filed:
            _check_footer(source, found)
        if not found or found[0].kind != SCHEMA:
            raise NotADataset(source.path, "it does not begin with a schema of Arrow")
        prefix = b"".join(
            source.read(part.start, part.stop - part.start) for part in _prefix(source, found)
        )
        batches = [_batch(source, part) for part in found if part.kind == BATCH]
    except (ValueError, RecursionError) as error:
        raise source.damaged(f"a message is not of Arrow: {error}") from None
    _check_schema(source, prefix)
    return prefix, [(start, size, rows) for start, size, rows in batches if rows]


def _messages(source: Source, at: int) -> Iterator[Message]:
    """All messages up to the end mark."""
    while True:
        if at + 8 > source.size:
            raise source.damaged("it has no end mark, so it was cut off", at, source.size)
        head = source.read(at, 8)
        if head == END:
            return
        size = int.from_bytes(head[4:], "little", signed=True)
        if head[:4] != CONTINUES or not 0 < size <= HEADER_BYTES:
            raise source.damaged("no message of Arrow begins here", at, at + 8)
        header = Table.root(source.read(at + 8, size))
        body = at + 8 + size
        stop = body + header.number(3, 8)
        if stop < body:
            raise source.damaged("a message has a negative length", at, body)
        source.read(stop, 0)
        yield Message(header.number(1, 1), at, body, stop, header)
        at = stop


def _prefix(source: Source, found: list[Message]) -> list[Message]:
    """The schema and the dictionaries, which must be the same for all batches."""
    if sum(part.kind == SCHEMA for part in found) > 1:
        raise source.damaged("it has two schemas")
    parts = [part for part in found if part.kind in (SCHEMA, DICTIONARY)]
    numbers = [_table(part).number(0, 8) for part in parts[1:]]
    changed = len(set(numbers)) < len(numbers) or any(_table(p).number(2, 1) for p in parts[1:])
    if changed or sum(part.stop - part.start for part in parts) > DICTIONARY_BYTES:
        raise IndexRefused(
            f"{source.path}: its dictionaries change, or take more than {DICTIONARY_BYTES} bytes",
            why="a batch must be read with nothing but the file's one set of dictionaries",
            remedy="write the columns as plain values: cast dictionaries to their value type",
        )
    for part in parts[1:]:
        inner = _table(part).table(1)
        if inner is None:
            raise source.damaged("a dictionary has no values", part.start, part.stop)
        _check_unpacked(source, part, inner)
    return parts


def _batch(source: Source, part: Message) -> tuple[int, int, int]:
    table = _table(part)
    rows = table.number(0, 8)
    if rows < 0:
        raise source.damaged("a record batch has a negative number of rows", part.start, part.stop)
    tables.check_size(source.path, "a record batch", rows, part.stop - part.start)
    _check_unpacked(source, part, table)
    return part.start, part.stop - part.start, rows


def _table(part: Message) -> Table:
    """The schema, dictionary or batch in a message."""
    table = part.header.table(2)
    if table is None:
        raise ValueError("it is empty")
    return table


def _check_unpacked(source: Source, part: Message, batch: Table) -> None:
    """Buffers lie in the body; what compressed ones say they hold, in their first 8 bytes, is
    bearable."""
    packed, held = batch.table(3) is not None, 0
    for offset, size in batch.pairs(2, 16):
        if offset < 0 or size < 0 or part.body + offset + size > part.stop:
            raise source.damaged("a buffer lies outside of its message", part.start, part.stop)
        if packed and size >= 8:
            said = source.read(part.body + offset, 8)
            held += max(0, int.from_bytes(said, "little", signed=True))
    tables.check_size(source.path, "a compressed record batch", 0, held)


def _check_footer(source: Source, found: list[Message]) -> None:
    """The footer of a file lists the record batches that were found."""
    tail = source.read(source.size - 10, 10)
    size = int.from_bytes(tail[:4], "little", signed=True)
    if tail[4:] != MAGIC or not 0 < size <= min(HEADER_BYTES, source.size - 18):
        raise source.damaged(
            "it does not end with a footer: it was cut off", source.size - 10, source.size
        )
    listed = Table.root(source.read(source.size - 10 - size, size)).pairs(3, 24)
    if [start for start, _ in listed] != [part.start for part in found if part.kind == BATCH]:
        raise source.damaged("its footer lists other record batches than it has")


def _check_schema(source: Source, prefix: bytes) -> None:
    pa = tables.pyarrow("Arrow")
    try:
        schema = pa.ipc.open_stream(pa.py_buffer(prefix + END)).schema
        tables.check_columns(source.path, schema)
    except tables.faults() as error:
        raise source.damaged(f"its schema cannot be read: {error}") from None
