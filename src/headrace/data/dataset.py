"""A data set, opened: an index and the bytes that it describes, whatever their format.

Samples are rows of tokens in a token set, bytes or what the format decodes in others. The bytes of
a sample are verified each time they are read from a file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headrace.data.buffers import Buffers
from headrace.data.errors import BatchesRefused
from headrace.data.files import Files, Place
from headrace.data.fill import (
    Fill,
    Filled,
    FillGroups,
    FillSingles,
    FillTokens,
    Found,
    Places,
)
from headrace.data.formats import registry
from headrace.data.formats.format import Decode, Sample
from headrace.data.index import Index, Piece
from headrace.data.index import Tokens as TokenShape
from headrace.data.order import Indices
from headrace.data.records import FORMAT as RECORDS
from headrace.data.records import decoder as record_decoder

Tokens = NDArray[np.integer[Any]]


class Source(Protocol):
    """What batches are drawn from: ``find`` thousands of samples at once, ``fill`` a batch of them.
    Safe to use from several threads."""

    @property
    def fingerprint(self) -> str:
        """The same for the same samples, wherever they lie."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    @property
    def is_tokens(self) -> bool:
        """Whether it is a ``TokenDataset``."""

    def find(self, indices: Indices) -> Found:
        """Raise ``IndexError`` out of range, ``DamagedData`` when the index is damaged."""
        ...

    def fill(self, places: Found, buffers: Buffers) -> Filled:
        """``places``: what ``find`` returned, or a cut of it."""
        ...


class TokenDataset(Source, Protocol):
    """A source of tokens, equally many in each sample."""

    @property
    def window(self) -> int:
        """Predicted tokens in a sample; a sample holds one token more."""

    @property
    def vocab(self) -> int:
        """Every token is below this number."""

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Of one sample: ``(window + 1,)``, or what the data set says."""

    def read(self, indices: Indices) -> Tokens:
        """Samples of shape [len(indices), *sample_shape], integers, owned by the caller."""
        ...

    def origin(self, index: int) -> tuple[Piece, ...]:
        """Where the tokens of one sample come from, in order."""
        ...


class Dataset:
    """``open`` makes it. ``root``: the file or folder that the index describes.

    ``split``: the part of the samples to offer, as fractions; ``(0, 0.9)`` and ``(0.9, 1)`` have
    no sample in common (neighbouring windows of a text share one token). ``first``: the number of
    its first sample in the whole.
    """

    def __init__(
        self,
        index: Index,
        root: Path,
        *,
        split: tuple[float, float] | None = None,
        place: Place | None = None,
    ) -> None:
        self.path = root
        self.index = index
        self.files = Files(root, index.describe, place=place)
        if index.header.packed and place is None:
            self.files.adopt(0, index.file)
        self.first, stop = _split_range(split, index.header.samples)
        self._length = stop - self.first
        self._shape = index.tokens
        self._fill = self._choose_fill()

    @property
    def meta(self) -> Mapping[str, Any]:
        """What the format knows besides the bytes."""
        return self.index.meta

    @property
    def is_tokens(self) -> bool:
        return self._shape is not None

    @property
    def window(self) -> int:
        """Predicted tokens in a sample, which holds one more. Raise ``BatchesRefused``."""
        return self._tokens().window

    @property
    def vocab(self) -> int:
        """Every token is below this number. Raise ``BatchesRefused``."""
        return self._tokens().vocab

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Of one sample. Raise ``BatchesRefused``."""
        return (self.window + 1,)

    @property
    def fingerprint(self) -> str:
        """The same for the same samples, wherever they lie."""
        whole = self.index.fingerprint
        if self._length == self.index.header.samples:
            return whole
        return f"{whole}:{self.first}-{self.first + self._length}"

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Sample:
        """One sample. Raise ``IndexError``, ``DamagedData``."""
        return self.read(np.array([index], dtype=np.int64))[0]

    def read(self, indices: Indices | Sequence[int]) -> Any:  # noqa: ANN401 - by format
        """Samples in the order of ``indices``, owned by the caller: a token set's have shape
        [n, window + 1], unsigned, as in the file; others are a list.

        Raise ``DamagedData`` rather than return a wrong byte, ``IndexError`` out of range.
        """
        filled = self.fill(self.find(np.asarray(indices, dtype=np.int64)), Buffers(most=0))
        if filled.damaged:
            raise filled.damaged[0].error()
        return filled.samples

    def find(self, indices: Indices) -> Places:
        """See ``Source``."""
        if len(indices) and not (indices.min() >= 0 and indices.max() < self._length):
            raise IndexError(f"sample indices must be in [0, {self._length})")
        found = self.index.units.find(indices + self.first)
        return Places(indices.tolist(), *(column.tolist() for column in found))

    def fill(self, places: Found, buffers: Buffers) -> Filled:
        """See ``Source``."""
        assert isinstance(places, Places)
        return self._fill(places, buffers)

    def ahead(self, indices: Indices) -> None:
        """Some of the samples that are needed from now on, in order, for copies to be made in time.
        See ``headrace.data.cache``."""
        files = self.index.units.find(indices + self.first).files
        _, places = np.unique(files, return_index=True)
        self.files.ahead(files[np.sort(places)].tolist())

    def origin(self, index: int) -> tuple[Piece, ...]:
        """Where a sample comes from: documents of a text pack, else bytes of a file."""
        places = self.find(np.array([index], dtype=np.int64))
        if self._shape is not None:
            start = (self.first + index) * self._shape.window
            documents = self.index.documents(start, start + self._shape.window + 1)
            if documents:
                return documents
        name, path = self.files.path(places.files[0])
        start = places.starts[0]
        return (
            Piece(
                source=path.name if name == "." else name, start=start, stop=start + places.sizes[0]
            ),
        )

    def close(self) -> None:
        """Close all files. Reading afterwards raises ``OSError``."""
        self.files.close()
        self.index.close()

    def _tokens(self) -> TokenShape:
        if self._shape is None:
            raise BatchesRefused(
                f"{self.path} holds no tokens",
                why=f"its samples are of the format {self.index.format}, not windows of tokens",
                remedy="give a token data set here",
            )
        return self._shape

    def _choose_fill(self) -> Fill:
        if self._shape is not None:
            return FillTokens(self.files, self._shape)
        decode: Decode | None
        if self.index.format == RECORDS:
            decode = record_decoder(self.meta)
        else:
            decode = registry.of_name(self.index.format).decoder(self.meta)
        if self.index.header.units == self.index.header.samples:
            return FillSingles(self.files, decode)
        assert decode is not None
        return FillGroups(self.files, decode)


def _split_range(split: tuple[float, float] | None, samples: int) -> tuple[int, int]:
    low, high = split or (0.0, 1.0)
    if not 0.0 <= low <= high <= 1.0:
        raise BatchesRefused(
            f"split ({low:g}, {high:g}) is not a part of a data set",
            why="a split is two fractions, 0 <= start <= stop <= 1",
            remedy="for example split=(0.0, 0.9) to train and (0.9, 1.0) to evaluate",
        )
    return round(low * samples), round(high * samples)
