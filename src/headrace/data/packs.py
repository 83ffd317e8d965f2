"""A data set of documents as one of packs: rows of ``window + 1`` tokens, whole documents in each.

Which document goes where is decided once (``packing``) and kept in a file of its own
(``packs_file``), so that opening is quick and every rank sees the same packs. A sample has shape
[3, window + 1]: tokens, numbers of the pieces, positions; see ``packing.rows_of``.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import xxhash
from numpy.typing import NDArray

from headrace.core.records import replace
from headrace.data.batch import Reading, cover
from headrace.data.buffers import Buffers
from headrace.data.damage import Damage
from headrace.data.dataset import Dataset, Source, Tokens
from headrace.data.errors import BatchesRefused
from headrace.data.fill import Filled, Found
from headrace.data.formats.format import Sample
from headrace.data.index import Piece
from headrace.data.order import Indices
from headrace.data.packing import BLOCK, pack_documents, rows_of
from headrace.data.packs_file import PacksFile, write_packs
from headrace.data.places import writable_place

_AT_ONCE = 4096
_VOCAB_MOST = 2**31


class Documents(Source, Protocol):
    """A source whose samples are documents: arrays of tokens, or dicts with a field of them."""

    def origin(self, index: int) -> tuple[Piece, ...]:
        """Where a document lies."""
        ...


@dataclass(frozen=True, slots=True)
class PackPlaces:
    """``packs``: numbers of the packs; ``ends[n]``: pieces of the first n; ``pieces``: (document,
    start, stop) of all of them; ``inner``: where their documents lie."""

    packs: list[int]
    ends: list[int]
    pieces: list[tuple[int, int, int]]
    inner: Found

    def __len__(self) -> int:
        return len(self.packs)

    def cut(self, start: int, stop: int) -> "PackPlaces":
        """See ``Found``."""
        first, last = self.ends[start], self.ends[stop]
        ends = [end - first for end in self.ends[start : stop + 1]]
        return PackPlaces(
            self.packs[start:stop], ends, self.pieces[first:last], self.inner.cut(first, last)
        )


class Packs:
    """``in_packs`` makes it. ``fill_share``: the part of all tokens that is no padding."""

    is_tokens = True

    def __init__(
        self, dataset: Documents, table: PacksFile, *, field: str | None, vocab: int
    ) -> None:
        self.dataset = dataset
        self.window = table.window
        self.vocab = vocab
        self.fill_share = table.fill_share
        self.sample_shape = (3, table.window + 1)
        self.fingerprint = xxhash.xxh3_128_hexdigest(
            f"{dataset.fingerprint},{table.fingerprint},{field}".encode()
        )
        self.table = table
        self._field = field

    def __len__(self) -> int:
        return self.table.packs

    def read(self, indices: Indices) -> Tokens:
        """See ``TokenDataset``: shape [n, 3, window + 1], int32."""
        filled = self.fill(self.find(indices), Buffers(most=0))
        if filled.damaged:
            raise filled.damaged[0].error()
        return cast(Tokens, filled.samples)

    def find(self, indices: Indices) -> PackPlaces:
        """See ``Source``."""
        if indices.size and not 0 <= indices.min() <= indices.max() < len(self):
            raise IndexError(f"sample indices must be in [0, {len(self)})")
        found = [self.table.pieces(index) for index in indices.tolist()]
        pieces = [piece for of_pack in found for piece in of_pack]
        documents = np.array([document for document, _, _ in pieces], dtype=np.int64)
        ends = list(accumulate((len(of_pack) for of_pack in found), initial=0))
        return PackPlaces(indices.tolist(), ends, pieces, self.dataset.find(documents))

    def fill(self, places: Found, buffers: Buffers) -> Filled:
        """See ``Source``. A pack with a damaged document is damaged."""
        assert isinstance(places, PackPlaces)
        filled = self.dataset.fill(places.inner, buffers)
        texts: list[Any] = [None] * len(places.pieces)
        good = range(len(texts)) if filled.good is None else filled.good
        for n, sample in zip(good, filled.samples, strict=True):
            texts[n] = sample
        missing = iter(filled.damaged)
        damage_of = {n: next(missing) for n, text in enumerate(texts) if text is None}
        whole: list[int] = []
        damaged: list[Damage] = []
        for n, pack in enumerate(places.packs):
            bad = [damage_of[m] for m in range(*places.ends[n : n + 2]) if m in damage_of]
            if bad:
                damaged.append(replace(bad[0], index=pack))
            else:
                whole.append(n)
        shape = (len(whole), *self.sample_shape)
        memory = buffers.get(4 * shape[0] * shape[1] * shape[2]).view(np.int32).reshape(shape)
        counts = [places.ends[n + 1] - places.ends[n] for n in whole]
        rows = rows_of(counts, self._cuts(places, texts, whole), memory)
        return Filled(rows, tuple(damaged), whole if damaged else None)

    def origin(self, index: int) -> tuple[Piece, ...]:
        """Tokens of documents: ``source`` is where a document lies, and its number."""
        return tuple(
            Piece(
                source=f"{self.dataset.origin(document)[0].source}#{document}",
                start=start,
                stop=stop,
            )
            for document, start, stop in self.table.pieces(index)
        )

    def _cuts(
        self, places: PackPlaces, texts: list[Any], whole: list[int]
    ) -> Iterator[NDArray[np.integer[Any]]]:
        for n in whole:
            for m in range(*places.ends[n : n + 2]):
                document, start, stop = places.pieces[m]
                tokens = tokens_of(texts[m], self._field)[start:stop]
                if not 0 <= tokens.min() <= tokens.max() < self.vocab:
                    raise BatchesRefused(
                        f"document {document} has tokens from {tokens.min()} to {tokens.max()}",
                        why=f"every token is from 0 to {self.vocab - 1}: vocab is {self.vocab}",
                        remedy="give the vocab of the tokenizer that made them, as vocab=",
                    )
                yield tokens


def in_packs(
    dataset: Documents,
    *,
    window: int,
    field: str | None = None,
    vocab: int = _VOCAB_MOST,
    path: Path | None = None,
    block: int = BLOCK,
) -> Packs:
    """Documents of ``dataset`` in rows of ``window + 1`` tokens, each predicted within itself.

    ``field``: where samples are dicts, the one that holds tokens. A pack with a token that is not
    below ``vocab`` is refused when it is read. The table of packs is kept at
    ``path`` (by default beside the index of the data set) and made when it is not there, or is of
    other documents: let one rank do it first (``run.first_rank_first``). Raise ``BatchesRefused``
    where samples are no tokens, ``PackFailed`` where the table cannot be written.
    """
    if not 1 <= vocab <= _VOCAB_MOST:
        raise BatchesRefused(
            f"a vocab of {vocab} is none",
            why=f"it is the number of tokens, 1 to {_VOCAB_MOST}",
            remedy="give the vocab of the tokenizer",
        )
    if not 1 <= window < 2**31 or block < 1:
        raise BatchesRefused(
            f"a window of {window} tokens and blocks of {block} documents cannot be packed",
            why="both are 1 or more, and a window is below 2**31",
            remedy="for example window=2048",
        )
    place = path or _default_place(dataset, window, field, os.environ)
    made_for = f"{dataset.fingerprint},{window},{field},{block}"
    if not place.is_file() or PacksFile(place).made_for != made_for:
        place.parent.mkdir(parents=True, exist_ok=True)
        packing = pack_documents(lengths_of(dataset, field), window=window, block=block)
        if not len(packing.segments):
            raise BatchesRefused(
                "no document has two tokens or more",
                why="a token is predicted from those before it in its document",
                remedy="check the data set and field=",
            )
        write_packs(place, packing, window=window, made_for=made_for)
    return Packs(dataset, PacksFile(place), field=field, vocab=vocab)


def tokens_of(sample: Sample, field: str | None) -> NDArray[np.integer[Any]]:
    """Raise ``BatchesRefused`` where it is no row of whole numbers."""
    value = sample
    if field is not None and isinstance(sample, Mapping):
        if field not in sample:
            raise BatchesRefused(
                f"a sample has no field {field}",
                why=f"its fields are {', '.join(map(str, sample)) or 'none'}",
                remedy="say which of them holds tokens",
            )
        value = sample[field]
    tokens = np.asarray(value)
    if tokens.ndim != 1 or not (np.issubdtype(tokens.dtype, np.integer) or not tokens.size):
        kind = type(value).__name__
        raise BatchesRefused(
            "the samples of this data set are no documents of tokens",
            why=f"a sample is {kind}, and tokens are a list or an array of whole numbers",
            remedy='say which field holds tokens, as field="input_ids"; pack text with: '
            "headrace data pack",
        )
    return tokens


def lengths_of(dataset: Source, field: str | None) -> Indices:
    """Tokens of each document. They are read for it unless the index tells."""
    if isinstance(dataset, Dataset) and field is None and "dtype" in dataset.meta:
        width = np.dtype(dataset.meta["dtype"]).itemsize
        sizes = [
            np.array(dataset.find(np.arange(first, min(first + _AT_ONCE, len(dataset)))).sizes)
            for first in range(0, len(dataset), _AT_ONCE)
        ]
        if len(dataset) and len(tokens_of(dataset[0], None)) * width == sizes[0][0]:
            lengths: Indices = np.concatenate(sizes) // width
            return lengths
    reading = Reading(transform=lambda sample: len(tokens_of(sample, field)))
    with cover(dataset, batch=256, reading=reading) as batches:
        return np.array([n for batch in batches for n in batch.samples], dtype=np.int64)


def _default_place(
    dataset: Documents, window: int, field: str | None, environ: Mapping[str, str]
) -> Path:
    if not isinstance(dataset, Dataset):
        raise BatchesRefused(
            "a table of packs has no place of its own here",
            why="it lies beside the index of a data set, and this is made of several",
            remedy='say where to keep it, as path=Path("corpus.packs")',
        )
    name = xxhash.xxh3_64_hexdigest(f"{dataset.fingerprint},{window},{field}".encode())
    index = dataset.index.path
    if not os.access(index.parent, os.W_OK):
        index = writable_place(dataset.path, environ)
    return index.with_name(f"{index.name}.packs-{name}")
