"""Records of named fields as bytes: how the packed file holds samples that are no tokens.

Layout in docs/reference/data-index.md. A sample that is bytes is stored as it is. One that is a
mapping is a table of its fields and then their bytes, each aligned to 8. Fields of bytes come back
as read-only views of the batch's memory; numbers, lists and the like go through JSON.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from headrace.data.formats.format import Decode, Sample

FORMAT = "records"
_COUNT = struct.Struct("<Q")
_FIELD = struct.Struct("<IIQ")
_BYTES, _TEXT, _JSON, _ARRAY = 0, 1, 2, 3


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
            kind, content = _encode(str(name), value)
            number = self.names.setdefault(str(name), len(self.names))
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
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        head = msgspec.json.encode([value.dtype.newbyteorder("<").str, value.shape])
        head = head.ljust(-(-(len(head) + 8) // 8) * 8 - 8)
        content = value.astype(value.dtype.newbyteorder("<")).tobytes()
        return _ARRAY, _COUNT.pack(len(head)) + head + content
    try:
        return _JSON, msgspec.json.encode(value)
    except (TypeError, msgspec.MsgspecError) as error:
        raise Unstorable(f"field {name} is of type {type(value).__name__}") from error


def _decode(kind: int, data: memoryview) -> Sample:
    if kind == _BYTES:
        return data
    if kind == _TEXT:
        return str(data, "utf-8", "surrogatepass")
    if kind == _JSON:
        return msgspec.json.decode(data)
    (size,) = _COUNT.unpack_from(data)
    dtype, shape = msgspec.json.decode(data[8 : 8 + size])
    return np.frombuffer(data[8 + size :], np.dtype(dtype)).reshape(shape)
