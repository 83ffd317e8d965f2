"""WebDataset: tar files in which neighbouring members with the same key are one sample.

``a/0001.jpg`` and ``a/0001.cls`` have the key ``a/0001`` and the fields ``jpg`` and ``cls``: the
name is cut at the first dot of its last part. A unit is the bytes of a sample with its tar headers,
so that it can be read alone and its headers can be checked again. Folders, links and members
without a dot are no part of a sample, as in the package webdataset. Headers: ustar, GNU long names,
pax (https://www.gnu.org/software/tar/manual/html_node/Standard.html, POSIX.1-2024 pax).
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from headrace.data.errors import DamagedData, IndexRefused
from headrace.data.formats import members
from headrace.data.formats.format import Decode, Options, Scan, Unit
from headrace.data.formats.listing import any_of, listing, located
from headrace.data.formats.source import Source

SUFFIXES = (".tar",)
PACKED = (".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar.lz4")
KEY = "__key__"
BLOCK = 512
NAME_BYTES = 1 << 20
"""Longest extended header."""
TAIL_BYTES = 1 << 24
"""Zeros that may follow the end mark: the padding of a tape record."""
REGULAR, LONG_NAME, LONG_LINK, PAX, GLOBAL = b"07\0", b"L", b"K", b"x", b"g"
LEFT_OUT = b"123456"
"""Links, devices, folders, pipes."""

Read = Callable[[int, int], bytes]
"""(start, size) -> these bytes; raises ``DamagedData`` outside of the file."""


class Member(NamedTuple):
    """A file in a tar. ``start``: its first header, extended ones included."""

    name: str
    start: int
    data: int
    size: int
    stop: int


class Tar:
    """A sample is {"__key__": str, field: bytes, ...}; fields in lower case."""

    name = "tar"

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
            if name.lower().endswith(PACKED) or members.is_packed(
                source.read(0, min(4, source.size))
            ):
                raise _compressed(source.path)
            for start, stop in _samples(source):
                yield Unit(number, start, stop - start)


def _samples(source: Source) -> Iterator[tuple[int, int]]:
    """(start, stop) of each run of members with the same key."""
    key, start, stop = None, 0, 0
    fields = {KEY}
    for member in _members(source.read, source.size, source.path):
        mine, field = _split(member.name)
        if mine is None:
            continue
        if mine != key:
            if key is not None:
                yield start, stop
            key, start, fields = mine, member.start, {KEY}
        if field in fields:
            raise source.damaged(
                f"sample {mine!r} has two fields {field!r}", member.start, member.stop
            )
        fields.add(field)
        stop = member.stop
    if key is not None:
        yield start, stop


def _decode(data: memoryview, file: str, start: int) -> list[dict[str, Any]]:
    sample: dict[str, Any] = {}

    def read(at: int, size: int) -> bytes:
        if at < 0 or size < 0 or at + size > len(data):
            raise DamagedData(
                Path(file),
                "a member is cut off",
                start=start + at,
                stop=start + at + size,
            )
        return bytes(data[at : at + size])

    for member in _members(read, len(data), Path(file), whole=False):
        key, field = _split(member.name)
        if key is not None:
            sample[KEY] = key
            sample[field] = read(member.data, member.size)
    return [sample]


def _split(name: str) -> tuple[str | None, str]:
    """(key, field) of a member's name; no key when it is no part of a sample."""
    folder, slash, last = name.rpartition("/")
    stem, dot, field = last.partition(".")
    if not dot or not stem or (not slash and stem.startswith("__") and last.endswith("__")):
        return None, ""
    return folder + slash + stem, field.lower()


def _members(read: Read, size: int, path: Path, *, whole: bool = True) -> Iterator[Member]:
    """The regular files of a tar, in order. ``whole``: it must end with an end mark."""
    at, name, length, start = 0, None, None, None
    while at < size:
        header = read(at, BLOCK)
        if not any(header):
            _check_tail(read, at, size, path)
            return
        kind, found_name, found_size = _parse(header, at, path)
        start = at if start is None else start
        data = at + BLOCK
        extended = kind in (LONG_NAME, LONG_LINK, PAX, GLOBAL)
        body_size = found_size if length is None or extended else length
        if kind in LEFT_OUT:
            body_size = 0
        stop = data + (body_size + BLOCK - 1) // BLOCK * BLOCK
        read(stop, 0)
        if extended:
            if body_size > NAME_BYTES:
                raise _damaged(path, f"an extended header has {body_size} bytes", at, stop)
            body = read(data, body_size)
            if kind == LONG_NAME:
                name = _text(body.rstrip(b"\0"))
            elif kind != LONG_LINK:
                fields = _pax(body, at, path)
                _refuse(fields, kind, at, path)
                name = fields.get("path", name)
                length = _decimal(fields["size"], at, path) if "size" in fields else length
        else:
            if kind in REGULAR:
                yield Member(name or found_name, start, data, body_size, stop)
            elif kind not in LEFT_OUT:
                raise _damaged(path, f"a member is of the type {kind!r}", at, data)
            name, length, start = None, None, None
        at = stop
    if whole:
        raise _damaged(path, "it has no end mark, so it was cut off", size, size)


def _parse(header: bytes, at: int, path: Path) -> tuple[bytes, str, int]:
    """(type, name, size) of one header whose checksum, of bytes with or without sign, is right."""
    field = header[148:156]
    wanted = _number(field, at, path)
    found = sum(header) - sum(field) + 8 * ord(" ")
    if wanted != found:
        high = sum(byte > 127 for byte in header[:148] + header[156:])
        if wanted != found - 256 * high:
            raise _damaged(path, "the checksum of a tar header is wrong", at, at + BLOCK)
    name = header[:100].split(b"\0")[0]
    prefix = header[345:500].split(b"\0")[0]
    if header[257:263] == b"ustar\0" and prefix:
        name = prefix + b"/" + name
    return header[156:157], _text(name), _number(header[124:136], at, path)


def _number(field: bytes, at: int, path: Path) -> int:
    """Octal digits, or a big-endian number after a first byte of 0x80."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0")[0].strip(b" ")
    if digits.strip(b"01234567"):
        raise _damaged(path, f"a tar header has the number {digits!r}", at, at + BLOCK)
    return int(digits or b"0", 8)


def _pax(body: bytes, at: int, path: Path) -> dict[str, str]:
    """The records "LENGTH KEY=VALUE\\n" of an extended header."""
    fields: dict[str, str] = {}
    place = 0
    while place < len(body):
        digits, space, _ = body[place : place + 12].partition(b" ")
        size = int(digits) if space and digits.isdigit() else 0
        record = body[place : place + size]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if size < len(digits) + 4 or len(record) < size or record[-1:] != b"\n" or not equals:
            raise _damaged(path, "an extended header is not pax", at, at + BLOCK + len(body))
        fields[_text(key)] = _text(value)
        place += size
    return fields


def _refuse(fields: Mapping[str, str], kind: bytes, at: int, path: Path) -> None:
    """What would change how following members are read is refused."""
    sparse = any(key.startswith("GNU.sparse") for key in fields)
    if sparse or (kind == GLOBAL and fields.keys() & {"path", "size", "hdrcharset"}):
        what = "a sparse file" if sparse else "a global header with names or sizes"
        raise _damaged(path, f"it holds {what}, which is not read", at, at + BLOCK)


def _decimal(text: str, at: int, path: Path) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise _damaged(path, f"a member has the size {text[:40]!r}", at, at + BLOCK)
    return int(text)


def _check_tail(read: Read, at: int, size: int, path: Path) -> None:
    """After the end mark there is nothing but the padding of a tape record."""
    if size - at > TAIL_BYTES or any(read(at, size - at)):
        raise _damaged(path, "something follows the end mark (tars put together?)", at, size)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _damaged(path: Path, why: str, start: int, stop: int) -> DamagedData:
    return DamagedData(path, why, start=start, stop=stop)


def _compressed(path: Path) -> IndexRefused:
    return IndexRefused(
        f"{path}: a compressed tar has no samples that can be read one by one",
        why="everything before a sample would have to be unpacked first",
        remedy="unpack it to a plain .tar (gunzip, unzstd): its images and sounds are compressed "
        "already",
    )
