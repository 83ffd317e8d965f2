"""Documents of any length packed into rows of ``window + 1`` tokens: which document goes where.

A pure function of the lengths, made once, when the data set is indexed: it knows no seed, so a pack
is a sample like any other and packs are shuffled, not documents. Documents are packed within blocks
of neighbours, which bounds memory and lets blocks be read as a whole. Inside a block the longest
piece is placed first, each in the fullest row that still holds it (best fit decreasing).

A document longer than a row is cut; the next piece begins with the token that the one before ended
with, so every token but a document's first is predicted once and never across documents. Documents
of fewer than two tokens predict nothing and are left out.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.data.order import Indices

BLOCK = 1024
SEGMENT = np.dtype([("document", "<u8"), ("start", "<u4"), ("stop", "<u4")])
"""Tokens ``[start, stop)`` of a document."""


Rows = NDArray[np.int32]


class Packing(NamedTuple):
    """Pack p is ``segments[starts[p]:starts[p + 1]]``; ``starts`` has one number more than there
    are packs. Both are little-endian and may be stored as they are."""

    starts: NDArray[np.uint64]
    segments: NDArray[np.void]


def pack_documents(lengths: Indices, *, window: int, block: int = BLOCK) -> Packing:
    """Packs of documents of ``lengths`` tokens, in the order of their first documents.

    Raise ``ValueError`` for a window or block below 1, a length below 0 or of 2**32 and more.
    """
    if window < 1 or block < 1:
        raise ValueError(f"window and block are 1 or more, not {window} and {block}")
    if lengths.size and (lengths.min() < 0 or lengths.max() >= 2**32):
        raise ValueError("a document has 0 to 2**32 - 1 tokens")
    counts: list[NDArray[np.int64]] = []
    parts: list[NDArray[np.void]] = []
    for first in range(0, len(lengths), block):
        pieces = _pieces(lengths[first : first + block], window)
        pieces["document"] += np.uint64(first)
        rows = _rows_of((pieces["stop"] - pieces["start"]).astype(np.int64), window + 1)
        by_row = np.argsort(rows, kind="stable")
        counts.append(np.bincount(rows) if len(rows) else rows)
        parts.append(pieces[by_row])
    starts = np.zeros(sum(map(len, counts)) + 1, dtype="<u8")
    if parts:
        np.cumsum(np.concatenate(counts), out=starts[1:])
    segments = np.concatenate(parts) if parts else np.empty(0, dtype=SEGMENT)
    return Packing(starts, segments)


def fill(packing: Packing, window: int) -> float:
    """The part of all rows' tokens that is no padding."""
    rows = len(packing.starts) - 1
    used = int((packing.segments["stop"] - packing.segments["start"]).sum(dtype=np.int64))
    return used / (rows * (window + 1)) if rows else 1.0


def rows_of(counts: Sequence[int], pieces: Iterable[NDArray[np.integer[Any]]], out: Rows) -> Rows:
    """Fill ``out``, of shape [packs, 3, window + 1], and return it.

    ``counts``: pieces of each pack; ``pieces``: the tokens of all of them, in order. Of each pack
    row 0 is tokens (0 where there is padding), row 1 the number of the token's piece in its row (1,
    2, ...; 0 where there is padding), row 2 the token's position in its piece, from 0. A prediction
    counts where a token and the next are of one piece.
    """
    out[:] = 0
    rest = iter(pieces)
    for row, count in zip(out, counts, strict=True):
        start = 0
        for number in range(1, count + 1):
            tokens = next(rest)
            stop = start + len(tokens)
            row[0, start:stop] = tokens
            row[1, start:stop] = number
            row[2, start:stop] = np.arange(len(tokens))
            start = stop
    return out


def _pieces(lengths: Indices, window: int) -> NDArray[np.void]:
    counts = np.where(lengths < 2, 0, (lengths - 1 + window - 1) // window)
    documents = np.repeat(np.arange(len(lengths)), counts)
    numbers = np.arange(len(documents)) - np.repeat(np.cumsum(counts) - counts, counts)
    pieces = np.empty(len(documents), dtype=SEGMENT)
    pieces["document"] = documents
    pieces["start"] = numbers * window
    pieces["stop"] = np.minimum(numbers * window + window + 1, lengths[documents])
    return pieces


def _rows_of(sizes: Indices, room: int) -> Indices:
    """The row of each piece. Rows are numbered by their first pieces."""
    rows = np.empty(len(sizes), dtype=np.int64)
    by_room: dict[int, list[int]] = {}
    roomy = 0  # bit r is set when a row has room for exactly r more tokens
    made = 0
    for piece in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[piece])
        enough = roomy >> size
        if enough:
            left = size + (enough & -enough).bit_length() - 1
            waiting = by_room[left]
            row = waiting.pop()
            if not waiting:
                roomy ^= 1 << left
        else:
            row, left, made = made, room, made + 1
        rows[piece] = row
        left -= size
        if left > 1:
            waiting = by_room.setdefault(left, [])
            if not waiting:
                roomy |= 1 << left
            waiting.append(row)
    first = np.full(made, len(sizes), dtype=np.int64)
    np.minimum.at(first, rows, np.arange(len(sizes)))
    rank = np.empty(made, dtype=np.int64)
    rank[np.argsort(first)] = np.arange(made)
    return rank[rows]
