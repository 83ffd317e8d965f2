"""JSON lines: one value a line; plain, or in gzip members or Zstandard frames.

Plain files are read line by line. Compressed ones can only be read by the whole member or frame, so
a unit is the fewest of them in a row that end a line: write many small ones. Lines of white space
are no samples; a byte order mark and ``\\r`` before ``\\n`` are dropped. Every line is decoded when
it is indexed, so that a line that is no JSON is found then and not in mid-training.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from headrace.data.errors import DamagedData, IndexRefused
from headrace.data.formats import members
from headrace.data.formats.format import Decode, Options, Sample, Scan, Unit
from headrace.data.formats.listing import any_of, listing, located
from headrace.data.formats.source import Source

SUFFIXES = (".jsonl", ".ndjson")
PACKED = tuple(end + packed for end in SUFFIXES for packed in members.SUFFIXES)
LINE_BYTES = 1 << 26
"""Longest line: a file without line ends is no JSON lines, and must not fill the memory."""
MERGED_BYTES = 1 << 26
"""Members are put together up to here; more says that they do not end where lines do."""
BOM = b"\xef\xbb\xbf"
BLANK = b" \t\r"


class Jsonl:
    """A sample is what a line holds: a dict, most often."""

    name = "jsonl"

    def claims(self, path: Path) -> bool:
        return any_of(path, SUFFIXES + PACKED)

    def scan(self, path: Path, options: Options) -> Scan:
        files = listing(path, SUFFIXES + PACKED, options.glob)
        return Scan(files=files, units=_units(path, files))

    def decoder(self, meta: Mapping[str, Any]) -> Decode:
        del meta
        return _decode


def _units(path: Path, files: list[str]) -> Iterator[Unit]:
    for number, name in enumerate(files):
        with Source(located(path, name)) as source:
            head = source.read(0, min(4, source.size))
            if members.is_packed(head):
                found = _packed_units(source, number)
            elif head[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise source.damaged("it is UTF-16; JSON lines are UTF-8", 0, 2)
            else:
                found = _line_units(source, number)
            yield from found


def _line_units(source: Source, number: int) -> Iterator[Unit]:
    for start, line in _lines(source):
        _value(line, source.path, start)
        yield Unit(number, start, len(line))


def _lines(source: Source) -> Iterator[tuple[int, bytes]]:
    """(start, bytes without white space around it) of every line that is not blank."""
    at = len(BOM) if source.read(0, min(3, source.size)) == BOM else 0
    rest = b""
    for chunk in source.chunks(at):
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield from _stripped(at, line)
            at += len(line) + 1
        if len(rest) > LINE_BYTES:
            raise source.damaged(f"a line is longer than {LINE_BYTES} bytes", at, at + len(rest))
    yield from _stripped(at, rest)


def _stripped(start: int, line: bytes) -> Iterator[tuple[int, bytes]]:
    text = line.strip(BLANK)
    if text:
        yield start + len(line) - len(line.lstrip(BLANK)), text


def _packed_units(source: Source, number: int) -> Iterator[Unit]:
    """Members in a row until one ends with a line end, or the file ends."""
    start, held = 0, 0
    parts: list[bytes] = []
    for member in members.members_of(source):
        parts.append(member.data)
        held += len(member.data)
        if member.stop < source.size and not member.data.endswith(b"\n"):
            if held > MERGED_BYTES and len(parts) > 1:
                raise _no_line_ends(source)
            continue
        rows = sum(1 for _ in _values(b"".join(parts), source.path, start))
        if rows:
            yield Unit(number, start, member.stop - start, rows)
        start, held, parts = member.stop, 0, []


def _no_line_ends(source: Source) -> IndexRefused:
    return IndexRefused(
        f"{source.path}: its compressed blocks do not end where lines end",
        why="a line could only be read by unpacking the file from its beginning",
        remedy="unpack it, or compress whole lines: split -l 1000 --filter='gzip >> OUT.jsonl.gz'",
    )


def _decode(data: memoryview, file: str, start: int) -> list[Sample]:
    if members.is_packed(bytes(data[:4])):
        text = b"".join(members.unpack(data, file, start))
        return list(_values(text, file, start))
    return [_value(data, file, start)]


def _values(text: bytes, path: str | Path, start: int) -> Iterator[Sample]:
    """The values of all lines of one unit."""
    for line in text.removeprefix(BOM).split(b"\n"):
        if line.strip(BLANK):
            yield _value(line, path, start)


def _value(line: bytes | memoryview, path: str | Path, start: int) -> Sample:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        stop = start + len(line)
        raise DamagedData(
            Path(path), f"a line is not JSON: {error}", start=start, stop=stop
        ) from None
