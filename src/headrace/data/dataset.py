"""What every token data set offers, whatever its format on disk.

A format is one class with these members and an entry in ``headrace.data.formats``.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headrace.core.records import Record
from headrace.data.order import Indices

Tokens = NDArray[np.unsignedinteger]


class Piece(Record, frozen=True, kw_only=True):
    """Tokens ``[start, stop)`` of one source document. ``source`` is relative to what was packed.

    With the byte tokenizer they are byte offsets in the file; ``stop`` may be one past its length,
    which is the end-of-document token.
    """

    source: str
    start: int
    stop: int


class TokenDataset(Protocol):
    """A sequence of windows of tokens. Safe to read from several threads."""

    @property
    def window(self) -> int:
        """Predicted tokens in a sample; a sample holds one token more."""

    @property
    def vocab(self) -> int:
        """Every token is below this number."""

    @property
    def fingerprint(self) -> str:
        """The same for the same samples, wherever the file lies."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def read(self, indices: Indices) -> Tokens:
        """Samples of shape [len(indices), window + 1], unsigned, owned by the caller.

        Raise ``DamagedData`` rather than return a wrong token, ``IndexError`` out of range.
        """
        ...

    def origin(self, index: int) -> tuple[Piece, ...]:
        """Where the tokens of one sample come from, in order."""
        ...
