"""Files of tokens cut in windows: what ``Scan.meta["tokens"]`` describes.

Window i of a file is tokens i * W to i * W + W, both included, as in a packed file: neighbours
share a token, and each token but the first is predicted once. Windows never cross files.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from headrace.data.errors import DamagedData, IndexRefused
from headrace.data.formats.format import Decode, Options, Scan, Unit
from headrace.data.formats.listing import located
from headrace.data.formats.source import Source


class Stretch(NamedTuple):
    """``tokens`` tokens from byte ``start`` of a file on."""

    file: int
    start: int
    tokens: int


@dataclass(frozen=True)
class Stream:
    """Tokens of one type in the files of a data set. Signed types are read as unsigned ones, which
    is the same for every token there can be."""

    root: Path
    files: Sequence[str]
    stretches: Sequence[Stretch]
    dtype: np.dtype[Any]

    def windows(self, window: int, *, stride: int, vocab: int | None) -> Scan:
        """Units of ``window`` + 1 tokens, ``stride`` tokens apart.

        Reads all tokens once: each must be below ``vocab``, which is the highest plus 1 when it is
        not given. Raise ``DamagedData`` for a negative token, ``IndexRefused`` for one too high.
        """
        unsigned = np.dtype(f"<u{self.dtype.itemsize}")
        highest = -1
        for part in self.stretches:
            path = located(self.root, self.files[part.file])
            found = _highest(path, part, unsigned)
            if self.dtype.kind == "i" and found > np.iinfo(self.dtype).max:
                stop = part.start + part.tokens * unsigned.itemsize
                raise DamagedData(path, "a token is negative", start=part.start, stop=stop)
            if vocab is not None and found >= vocab:
                raise _too_high(path, found, vocab, self.dtype)
            highest = max(highest, found)
        vocab = highest + 1 if vocab is None else vocab
        tokens = {"dtype": unsigned.str, "window": window, "vocab": vocab}
        units = self._units((window + 1) * unsigned.itemsize, window, stride)
        return Scan(files=self.files, units=units, meta={"tokens": tokens})

    def _units(self, size: int, window: int, stride: int) -> Iterator[Unit]:
        width = self.dtype.itemsize
        for part in self.stretches:
            stop = part.start + (part.tokens - window) * width
            for start in range(part.start, stop, stride * width):
                yield Unit(part.file, start, size)


def row_decoder(meta: Mapping[str, Any]) -> Decode:
    """A unit is one row of tokens: unsigned[window + 1]."""
    dtype = np.dtype(meta["tokens"]["dtype"])

    def decode(data: memoryview, file: str, start: int) -> list[Any]:
        del file, start
        return [np.frombuffer(data, dtype).copy()]

    return decode


def window_of(path: Path, options: Options) -> int:
    """Raise ``IndexRefused`` when the user gave no window of at least one token."""
    if options.window is None:
        raise IndexRefused(
            f"{path}: tokens need a window",
            why="a stream of tokens has no samples of its own",
            remedy="say how many tokens a sample predicts: --window 2048",
        )
    if options.window < 1:
        raise IndexRefused(
            f"--window {options.window}: not a window",
            why="a sample predicts at least one token",
            remedy="give a number from 1 on: --window 2048",
        )
    return options.window


def _highest(path: Path, part: Stretch, dtype: np.dtype[Any]) -> int:
    """The highest token of a stretch, -1 when it is empty."""
    with Source(path) as source:
        chunks = source.chunks(part.start, part.start + part.tokens * dtype.itemsize)
        return max((int(np.frombuffer(chunk, dtype).max()) for chunk in chunks), default=-1)


def _too_high(path: Path, token: int, vocab: int, dtype: np.dtype[Any]) -> IndexRefused:
    return IndexRefused(
        f"{path}: token {token} is not below the vocabulary of {vocab}",
        why=f"it was read as {dtype.name}; the type or the vocabulary is another",
        remedy="give the --dtype and --vocab of the tokenizer that wrote it",
    )
