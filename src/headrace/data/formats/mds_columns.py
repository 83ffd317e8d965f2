"""How the columns of MDS are decoded. Pickles are refused: reading one can run any program.

Source: streaming/base/format/mds/encodings.py in mosaicml/streaming.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from itertools import accumulate, pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

VALUE_TYPES = {
    8: "uint8",
    9: "int8",
    16: "uint16",
    17: "int16",
    18: "float16",
    32: "uint32",
    33: "int32",
    34: "float32",
    64: "uint64",
    65: "int64",
    66: "float64",
}
SCALARS = frozenset(VALUE_TYPES.values())
PIL_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4, "CMYK": 4, "YCbCr": 3, "LAB": 3, "HSV": 3}
"""Modes of Pillow with a byte a channel."""

DecodeColumn = Callable[[bytes], Any]


class Column(NamedTuple):
    """``size``: bytes in every sample, 0 when each sample says."""

    name: str
    decode: DecodeColumn
    size: int


def column_of(encoding: str) -> DecodeColumn:
    """Raise ``ValueError`` with the reason when there is no such encoding, or none that is safe."""
    kind, _, setting = encoding.partition(":")
    if kind == "ndarray":
        return _array_of(setting)
    if kind in SCALARS:
        return lambda data: _scalar(kind, data)
    if kind == "pkl":
        raise ValueError("a pickle can run any program when it is read")
    if kind not in PLAIN:
        raise ValueError("no such encoding is known")
    return PLAIN[kind]


def _array_of(setting: str) -> DecodeColumn:
    """``setting``: "", "DTYPE" or "DTYPE:D0,D1,.."; what it leaves out stands in each sample."""
    dtype, _, dimensions = setting.partition(":")
    if dtype and dtype not in SCALARS:
        raise ValueError(f"{dtype!r} is no type of an array")
    shape = tuple(int(size) for size in dimensions.split(",")) if dimensions else None
    if shape and min(shape) < 1:
        raise ValueError(f"an array has no shape {shape}")
    return lambda data: _array(data, dtype, shape)


def _array(data: bytes, dtype: str, shape: tuple[int, ...] | None) -> NDArray[Any]:
    at = 0
    if not dtype:
        dtype, at = VALUE_TYPES[data[0]], 1
    if shape is None:
        axes, width = data[at] >> 2, 1 << (data[at] & 3)
        at += 1 + axes * width
        sizes = np.frombuffer(data[at - axes * width : at], f"<u{width}")
        shape = tuple(int(size) for size in sizes)
        if len(shape) != axes:
            raise ValueError("the shape of an array is cut off")
    value = np.frombuffer(data, np.dtype(dtype).newbyteorder("<"), offset=at)
    if prod(shape) != value.size:
        raise ValueError(f"an array of shape {shape} has {value.size} values")
    return value.reshape(shape).copy()


def _scalar(dtype: str, data: bytes) -> np.generic:
    value: np.generic
    (value,) = np.frombuffer(data, np.dtype(dtype).newbyteorder("<"))
    return value


def _picture(data: bytes) -> NDArray[np.uint8]:
    """A raw image of Pillow: u32 width, height, length of mode; mode; bytes -> uint8[H, W(, C)]."""
    width, height, letters = (int(number) for number in np.frombuffer(data[:12], "<u4"))
    mode = data[12 : 12 + letters].decode("ascii")
    if mode not in PIL_CHANNELS:
        raise ValueError(f"images of mode {mode!r} are not read; write the column as png")
    channels = PIL_CHANNELS[mode]
    value = np.frombuffer(data, np.uint8, offset=12 + letters)
    if value.size != width * height * channels:
        raise ValueError(f"an image of {width} x {height}, {mode}, has {value.size} bytes")
    return value.reshape((height, width, channels) if channels > 1 else (height, width)).copy()


def _parts(data: bytes, at: int) -> list[bytes]:
    """From ``at`` on: u32 count, u32 length of each part, the parts, and nothing else."""
    (count,) = np.frombuffer(data[at : at + 4], "<u4").tolist()
    place = at + 4 + 4 * count
    sizes = np.frombuffer(data[at + 4 : place], "<u4").tolist()
    if len(sizes) != count or place + sum(sizes) != len(data):
        raise ValueError(f"a list of {count} parts has not the length it says")
    ends = list(accumulate(sizes, initial=place))
    return [data[start:end] for start, end in pairwise(ends)]


def _list_of(decode: DecodeColumn) -> DecodeColumn:
    """A list as streaming's List writes it: four bytes of no meaning first."""
    return lambda data: [decode(part) for part in _parts(data, 4)]


def _same(data: bytes) -> bytes:
    return data


def _text(data: bytes) -> str:
    return data.decode("utf-8")


def _integer(data: bytes) -> int:
    return int(_scalar("int64", data).item())


PLAIN: dict[str, DecodeColumn] = {
    "bytes": _same,
    "jpeg": _same,
    "png": _same,
    "str": _text,
    "int": _integer,
    "pil": _picture,
    "json": json.loads,
    "list[jpeg]": _list_of(_same),
    "list[png]": _list_of(_same),
    "list[pil]": _list_of(_picture),
    "jpeg_array": lambda data: _parts(data, 0),
    "jpegarray": lambda data: _parts(data, 0),
    "str_int": lambda data: int(_text(data)),
    "str_float": lambda data: float(_text(data)),
    "str_decimal": lambda data: Decimal(_text(data)),
}
