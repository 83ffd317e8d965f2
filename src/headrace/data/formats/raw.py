"""Files of nothing but tokens, little-endian, as nanoGPT and others write them (``train.bin``)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headrace.data.errors import IndexRefused, NotADataset
from headrace.data.formats import tokens
from headrace.data.formats.format import Decode, Options, Scan
from headrace.data.formats.listing import any_of, listing, located
from headrace.data.formats.source import Source

NAMED = {".u8": "uint8", ".u16": "uint16", ".u32": "uint32", ".u64": "uint64"}
SUFFIXES = (".bin", *NAMED)
DTYPES = ("uint8", "uint16", "uint32", "uint64", "int16", "int32", "int64")


class Raw:
    """Windows of tokens. The type is told by the suffix (.u16) or by the user."""

    name = "raw"

    def claims(self, path: Path) -> bool:
        return any_of(path, SUFFIXES)

    def scan(self, path: Path, options: Options) -> Scan:
        files = listing(path, SUFFIXES, options.glob)
        dtype = _dtype(path, files, options)
        window = tokens.window_of(path, options)
        parts = []
        for number, name in enumerate(files):
            with Source(located(path, name)) as source:
                count, over = divmod(source.size, dtype.itemsize)
                if over:
                    why = f"its {source.size} bytes are no whole number of {dtype.name}"
                    raise source.damaged(why)
            parts.append(tokens.Stretch(number, 0, count))
        stream = tokens.Stream(path, files, parts, dtype)
        return stream.windows(window, stride=window, vocab=options.vocab)

    def decoder(self, meta: Mapping[str, Any]) -> Decode:
        return tokens.row_decoder(meta)


def _dtype(path: Path, files: list[str], options: Options) -> np.dtype[Any]:
    named = {NAMED.get(located(path, name).suffix.lower()) for name in files}
    if len(named) > 1:
        raise NotADataset(path, "its files hold tokens of several types; choose with --glob")
    found = named.pop()
    dtype = options.dtype or found
    if dtype not in DTYPES or (found and dtype != found):
        raise IndexRefused(
            f"{path}: tokens of the type {dtype}" if dtype else f"{path}: tokens need a type",
            why=f"its name says {found}" if found else "the file does not say how wide a token is",
            remedy=f"give one of: --dtype {', '.join(DTYPES)}",
        )
    return np.dtype(dtype).newbyteorder("<")
