"""Typed records as JSON: the base of everything that crosses a process or lies on disk.

Built on msgspec: decoding checks types, unknown keys are ignored (an older reader can read a newer
file), encoding is one call. Records are frozen; change one with ``msgspec.structs.replace``.
"""

import os
from pathlib import Path
from typing import Generic, Self, TypeVar

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all records. One that is frozen is its own deep copy."""

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self


def _snake_case(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


class Tagged(Record, frozen=True, kw_only=True, tag_field="kind", tag=_snake_case):
    """Base of records that stand in a union: JSON carries ``"kind": "class_name"``."""


R = TypeVar("R")

DecodeError = msgspec.DecodeError
_TOO_DEEP = "it is nested too deeply"
replace = msgspec.structs.replace
fields = msgspec.structs.fields


def encode(record: object) -> bytes:
    """One line of JSON, without the newline."""
    return msgspec.json.encode(record)


def decode(data: bytes | str, kind: type[R]) -> R:
    """Raise ``DecodeError`` (``ValidationError`` is one) when ``data`` is not a ``kind``."""
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError as error:
        raise DecodeError(_TOO_DEEP) from error


def convert(value: object, kind: type[R]) -> R:
    """Dicts and lists, as from TOML, as a record. Raise ``DecodeError``."""
    return msgspec.convert(value, kind)


class LineDecoder(Generic[R]):
    """A reusable decoder of one line, also for unions of tagged records."""

    def __init__(self, kind: object) -> None:
        self._decode = msgspec.json.Decoder(kind).decode

    def __call__(self, line: bytes) -> R:
        try:
            found: R = self._decode(line)
        except RecursionError as error:
            raise DecodeError(_TOO_DEEP) from error
        return found


def to_builtins(record: object) -> object:
    """The record as dicts, lists and scalars, for ``--json`` output."""
    return msgspec.to_builtins(record)


def write_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write so that a reader sees the old file or the whole new one, also after a power cut.

    The data goes to a temporary name in the same folder, is flushed to the disk, and is renamed.
    """
    temporary = temporary_beside(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def temporary_beside(path: Path) -> Path:
    """A name that no other process takes, here, in another container, or on another node."""
    return path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")


def sync_folder(folder: Path) -> None:
    """Make renames and creations in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_record(path: Path, record: object, *, mode: int = 0o644) -> None:
    """``write_file`` of the record's JSON."""
    write_file(path, encode(record) + b"\n", mode=mode)


def read_record(path: Path, kind: type[R]) -> R:
    """Raise ``FileNotFoundError`` or ``DecodeError``."""
    return decode(path.read_bytes(), kind)
