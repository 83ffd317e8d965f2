"""Records of named fields as bytes: how the packed file holds samples that are no tokens.

Layout in docs/reference/data-index.md. A sample that is bytes is stored as it is. One that is a
mapping is a table of its fields and then their bytes, each aligned to 8. Fields of bytes come back
as read-only views of the batch's memory; numbers, lists and the like go through JSON where that
gives back the same value, and else as trees (MessagePack). What comes back is what was given.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np

from headrace.data.formats.format import Decode, Sample

FORMAT = "records"
_COUNT = struct.Struct("<Q")
_FIELD = struct.Struct("<IIQ")
_BYTES, _TEXT, _JSON, _ARRAY, _TREE = 0, 1, 2, 3, 4
_TUPLE = 1  # in a tree: MessagePack's extensions, of which the others are text
_AS_TEXT: dict[int, tuple[type, Callable[[Any], str], Callable[[str], Any]]] = {
    2: (Decimal, str, Decimal),
    3: (datetime, datetime.isoformat, datetime.fromisoformat),
    4: (date, date.isoformat, date.fromisoformat),
    5: (time, time.isoformat, time.fromisoformat),
    6: (
        timedelta,
        lambda lasts: f"{lasts.days} {lasts.seconds} {lasts.microseconds}",
        lambda text: timedelta(*map(int, text.split())),
    ),
}
_REFUSED = (TypeError, ValueError, ArithmeticError, RecursionError, msgspec.MsgspecError)


class Unstorable(TypeError):
    """A field is of a type that no record holds."""


class RecordEncoder:
    """Samples to bytes; ``names`` collects the fields' names in the order they first come.

    ``fields`` is None until the first sample says whether samples are mappings.
    """

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.fields: bool | None = None

    def __call__(self, sample: Sample) -> bytes:
        """Raise ``Unstorable``."""
        fields = isinstance(sample, Mapping)
        if self.fields is None:
            self.fields = fields
        if self.fields != fields:
            raise Unstorable("some samples have fields and others have none")
        if not fields:
            return _plain_bytes(sample)
        table, data = [_COUNT.pack(len(sample))], []
        for name, value in sample.items():
            if not isinstance(name, str):
                raise Unstorable(f"the name of field {name!r} is no text")
            kind, content = _encode(name, value)
            number = self.names.setdefault(name, len(self.names))
            table.append(_FIELD.pack(number, kind, len(content)))
            data.append(content + bytes(-len(content) % 8))
        return b"".join(table + data)

    def meta(self) -> dict[str, Any]:
        return {"format": FORMAT, "fields": list(self.names) if self.fields else None}


def decoder(meta: Mapping[str, Any]) -> Decode | None:
    """None where samples are plain bytes."""
    names = meta["fields"]
    if names is None:
        return None

    def decode(data: memoryview, file: str, start: int) -> Sequence[Sample]:
        (count,) = _COUNT.unpack_from(data)
        place = _COUNT.size + count * _FIELD.size
        sample = {}
        for number, kind, size in _FIELD.iter_unpack(data[_COUNT.size : place]):
            sample[names[number]] = _decode(kind, data[place : place + size])
            place += size + -size % 8
        return (sample,)

    return decode


def _plain_bytes(sample: Sample) -> bytes:
    if not isinstance(sample, bytes | bytearray | memoryview):
        raise Unstorable(f"a sample is of type {type(sample).__name__}")
    return bytes(sample)


def _encode(name: str, value: object) -> tuple[int, bytes]:
    if isinstance(value, bytes | bytearray | memoryview):
        return _BYTES, bytes(value)
    if isinstance(value, str):
        return _TEXT, value.encode(errors="surrogatepass")
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        value = value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        head = msgspec.json.encode([value.dtype.newbyteorder("<").str, value.shape])
        head = head.ljust(-(-(len(head) + 8) // 8) * 8 - 8)
        content = value.astype(value.dtype.newbyteorder("<")).tobytes()
        return _ARRAY, _COUNT.pack(len(head)) + head + content
    try:
        content = msgspec.json.encode(value)
        if msgspec.json.decode(content) == value:
            return _JSON, content
        return _TREE, msgspec.msgpack.encode(_tree(value))
    except Unstorable as error:
        raise Unstorable(f"field {name} holds {error}") from error
    except _REFUSED as error:
        raise Unstorable(f"field {name} is of type {type(value).__name__}: {error}") from error


def _tree(value: object) -> object:
    """As MessagePack holds it. Types are compared exactly: one derived from them may be more."""
    kind = type(value)
    if kind in (bytes, bytearray, memoryview):
        return bytes(value)  # type: ignore[call-overload]
    if value is None or kind in (bool, int, float, str):
        return value
    if isinstance(value, list | tuple) and kind in (list, tuple):
        below = [_tree(one) for one in value]
        return below if kind is list else msgspec.msgpack.Ext(_TUPLE, msgspec.msgpack.encode(below))
    if isinstance(value, dict) and kind is dict:
        return {_tree(name): _tree(one) for name, one in value.items()}
    for code, (known, to_text, _) in _AS_TEXT.items():
        if kind is known and _is_plain(value):
            return msgspec.msgpack.Ext(code, to_text(value).encode())
    raise Unstorable(f"a value of type {kind.__name__}: {value!r:.60}")


def _is_plain(value: object) -> bool:
    """Whether a time is without a zone, or in UTC: text does not hold the rules of others."""
    if not isinstance(value, datetime | time) or value.tzinfo is None:
        return True
    return value.tzname() == "UTC" and not value.utcoffset()


def _from_extension(code: int, data: memoryview) -> object:
    if code == _TUPLE:
        return tuple(_from_tree(data))
    return _AS_TEXT[code][2](str(data, "utf-8"))


_from_tree = msgspec.msgpack.Decoder(ext_hook=_from_extension).decode


def _decode(kind: int, data: memoryview) -> Sample:
    if kind == _BYTES:
        return data
    if kind == _TEXT:
        return str(data, "utf-8", "surrogatepass")
    if kind == _JSON:
        return msgspec.json.decode(data)
    if kind == _TREE:
        return _from_tree(data)
    (size,) = _COUNT.unpack_from(data)
    dtype, shape = msgspec.json.decode(data[8 : 8 + size])
    return np.frombuffer(data[8 + size :], np.dtype(dtype)).reshape(shape)
