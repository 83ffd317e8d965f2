"""Arrays of NumPy: tokens in one dimension, or rows along the first of several.

The header is parsed by NumPy's own reader, which evaluates no code. Objects (pickles) are refused.
"""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from headrace.data.errors import IndexRefused, NotADataset
from headrace.data.formats import tokens
from headrace.data.formats.format import Decode, Options, Scan, Unit
from headrace.data.formats.listing import any_of, listing, located
from headrace.data.formats.source import Source

SUFFIXES = (".npy",)
HEADER_BYTES = 1 << 14


class Array(NamedTuple):
    """What the header of a file says; ``start``: where the values begin."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int


class Npy:
    """1-D: windows of tokens. 2-D of integers: a row of L tokens is a sample of window L - 1.
    Others: a sample is ``array[i]``."""

    name = "npy"

    def claims(self, path: Path) -> bool:
        return any_of(path, SUFFIXES)

    def scan(self, path: Path, options: Options) -> Scan:
        files = listing(path, SUFFIXES, options.glob)
        arrays = [_array(located(path, name)) for name in files]
        first = arrays[0]
        for name, array in zip(files, arrays, strict=True):
            if (array.dtype, array.shape[1:]) != (first.dtype, first.shape[1:]):
                why = f"it has rows of {array.dtype}{list(array.shape[1:])}; {files[0]} has others"
                raise NotADataset(located(path, name), why)
        if first.dtype.kind not in "iu" or first.dtype.name == "int8" or len(first.shape) > 2:
            return _rows(path, files, arrays, options)
        parts = [
            tokens.Stretch(number, array.start, int(np.prod(array.shape, dtype=object)))
            for number, array in enumerate(arrays)
        ]
        stream = tokens.Stream(path, files, parts, first.dtype)
        if len(first.shape) == 1:
            window = tokens.window_of(path, options)
            return stream.windows(window, stride=window, vocab=options.vocab)
        length = first.shape[1]
        if length < 2 or options.window not in (None, length - 1):
            raise IndexRefused(
                f"{path}: rows of {length} tokens are no windows of {options.window or 'any size'}",
                why="a row of L tokens is one sample that predicts L - 1",
                remedy="leave --window out, or store the tokens in one dimension",
            )
        return stream.windows(length - 1, stride=length, vocab=options.vocab)

    def decoder(self, meta: Mapping[str, Any]) -> Decode:
        if "tokens" in meta:
            return tokens.row_decoder(meta)
        dtype, shape = np.dtype(meta["dtype"]), tuple(meta["shape"])

        def decode(data: memoryview, file: str, start: int) -> list[Any]:
            del file, start
            return [np.frombuffer(data, dtype).reshape(shape).copy()]

        return decode


def _rows(path: Path, files: list[str], arrays: list[Array], options: Options) -> Scan:
    """``array[i]`` of every array, in order."""
    first = arrays[0]
    if len(first.shape) < 2 or options.window is not None:
        raise NotADataset(path, f"{first.dtype}{list(first.shape)} holds no stream of tokens")
    size = int(np.prod(first.shape[1:], dtype=object)) * first.dtype.itemsize
    if not size:
        raise NotADataset(path, f"its rows are empty: shape {first.shape}")

    def units() -> Iterator[Unit]:
        for number, array in enumerate(arrays):
            for row in range(array.shape[0]):
                yield Unit(number, array.start + row * size, size)

    meta = {"dtype": first.dtype.str, "shape": list(first.shape[1:])}
    return Scan(files=files, units=units(), meta=meta)


def _array(path: Path) -> Array:
    """Read a header, and hold it against the size of the file."""
    with Source(path) as source:
        head = io.BytesIO(source.read(0, min(HEADER_BYTES, source.size)))
        try:
            version = np.lib.format.read_magic(head)
            if version == (1, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(head)
            elif version == (2, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_2_0(head)
            else:
                raise ValueError(f"its version is {version}")
        except Exception as error:  # what NumPy's tokenizer and parser raise is not documented
            raise NotADataset(path, f"it has no header of an .npy file: {error}") from None
        if dtype.kind not in "biufc" or dtype.byteorder == ">":
            raise NotADataset(
                path, f"its values are {dtype.str}; only little-endian numbers are read"
            )
        if not shape or min(shape) < 0:
            raise NotADataset(path, f"it has the shape {shape}")
        if fortran and len(shape) > 1:
            raise IndexRefused(
                f"{path}: it is in Fortran order",
                why="the values of a row do not lie side by side",
                remedy="write it again: np.save(PATH, np.ascontiguousarray(array))",
            )
        start = head.tell()
        size = start + int(np.prod(shape, dtype=object)) * dtype.itemsize
        if size != source.size:
            raise source.damaged(f"it has {source.size} bytes; its header says {size}")
    return Array(shape, dtype, start)
