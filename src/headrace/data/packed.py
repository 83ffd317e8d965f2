"""Write a packed file: data behind a header, then the tables of an index that points into it.

Layout in docs/reference/data-index.md. Reading is that of any index (``headrace.data.dataset``).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash
from numpy.typing import NDArray

from headrace.data.index_writer import IndexWriter
from headrace.data.sections import HEADER_BYTES, ROWS_PER_BLOCK, Header
from headrace.data.units import Columns

TOKENS = "tokens"
ALIGNMENT_BYTES = 64
_hash = xxhash.xxh3_64_intdigest


def token_type(vocab: int) -> np.dtype[np.unsignedinteger]:
    """Two bytes a token where every token fits into them, else four."""
    return np.dtype("<u2") if vocab <= 1 << 16 else np.dtype("<u4")


class PackWriter:
    """Use in a ``with``. Holds a few hundred units in memory, however many there are."""

    def __init__(self, file: BinaryIO, folder: Path) -> None:
        self._file = file
        self._index = IndexWriter(folder)
        self._place = HEADER_BYTES
        self._records: list[tuple[int, int, int]] = []  # start, size, digest
        file.write(bytes(HEADER_BYTES))

    def __enter__(self) -> "PackWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._index.__exit__()

    def add_rows(self, rows: NDArray[Any]) -> None:
        """Append units of one sample each: the rows of a matrix, one behind the other."""
        self._add_records()
        if not len(rows):
            return
        data = np.ascontiguousarray(rows)
        size = data.nbytes // len(data)
        digests = np.fromiter((_hash(row) for row in data), np.uint64, len(data))
        starts = self._place + size * np.arange(len(data), dtype=np.int64)
        self._add(starts, np.full(len(data), size, np.int64), digests)
        self._file.write(data.data)
        self._place += data.nbytes

    def add_record(self, data: bytes) -> None:
        """Append a unit of one sample, aligned to 64 bytes."""
        padding = -self._place % ALIGNMENT_BYTES
        self._file.write(bytes(padding))
        self._place += padding
        self._records.append((self._place, len(data), _hash(data)))
        self._file.write(data)
        self._place += len(data)
        if len(self._records) >= ROWS_PER_BLOCK:
            self._add_records()

    def add_document(self, start: int, stop: int, name: str) -> None:
        """See ``IndexWriter.add_document``."""
        self._index.add_document(start, stop, name)

    def finish(self, meta: Mapping[str, Any]) -> Header:
        """Write the tables and the header."""
        self._add_records()
        return self._index.finish(
            self._file,
            meta=meta,
            files=[(".", 0)],
            data_stop=self._place,
        )

    def _add_records(self) -> None:
        if self._records:
            starts, sizes, digests = zip(*self._records, strict=True)
            self._records = []
            self._add(
                np.array(starts, np.int64), np.array(sizes, np.int64), np.array(digests, np.uint64)
            )

    def _add(
        self, starts: NDArray[np.int64], sizes: NDArray[np.int64], digests: NDArray[np.uint64]
    ) -> None:
        nothing = np.zeros(len(starts), np.int64)
        self._index.add(Columns(nothing, starts, sizes, nothing + 1, digests))
