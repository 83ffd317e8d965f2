"""The two workloads of the loaders' race, in the one form that every peer's data is made of.

Tokens: rows of 2,048 uint16, of which the first is the row's number. Blobs: byte strings of about
50 KiB that do not compress, of which the first 8 bytes are the number. Needs numpy alone, since it
is imported by every peer in an environment of its own.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 64
ROW = 2048
BLOB_BYTES = 50_752
NUMBER_BYTES = 8
SEED = 7
_PIECE = 500

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Raw:
    """Samples one after the other in ``data``; n is bytes ``[offsets[n], offsets[n + 1])``."""

    folder: Path
    workload: str

    @property
    def data(self) -> Path:
        return self.folder / f"{self.workload}.raw"

    @property
    def offsets(self) -> Array:
        return np.asarray(np.load(self.folder / f"{self.workload}.offsets.npy"))

    def rows(self) -> Array:
        """All rows of tokens, [samples, 2048], mapped."""
        return np.memmap(self.data, np.uint16, "r").reshape(-1, ROW)

    def blobs(self) -> list[memoryview]:
        offsets, data = self.offsets.tolist(), np.memmap(self.data, np.uint8, "r").data
        return [data[a:b] for a, b in pairwise(offsets)]

    def order(self) -> Array:
        """The order of those peers that leave it to their caller."""
        return np.random.default_rng(SEED).permutation(len(self.offsets) - 1)

    def batches(self) -> list[list[int]]:
        order = self.order().tolist()
        return [order[start : start + BATCH] for start in range(0, len(order), BATCH)]


def write(folder: Path, workload: str, samples: int) -> None:
    """Draw ``samples`` samples, the same ones each time."""
    drawn = np.random.default_rng(SEED)
    raw = Raw(folder, workload)
    sizes = np.full(samples, 2 * ROW)
    if workload == "blobs":
        sizes = drawn.integers(BLOB_BYTES // 2, BLOB_BYTES * 3 // 2, samples, endpoint=True)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    np.save(folder / f"{workload}.offsets.npy", offsets)
    with raw.data.open("wb") as file:
        for first in range(0, samples, _PIECE):
            numbers = np.arange(first, min(first + _PIECE, samples))
            piece = np.frombuffer(drawn.bytes(int(sizes[numbers].sum())), np.uint8).copy()
            for number, start in zip(numbers, offsets[numbers] - offsets[first], strict=True):
                wide = np.uint16 if workload == "tokens" else np.uint64
                mark = np.array([number], wide).view(np.uint8)
                piece[start : start + len(mark)] = mark
            file.write(piece.tobytes())
