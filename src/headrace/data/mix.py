"""Several data sets as one: the samples of the first, then those of the second, and so on.

Which of them come how often is decided by ``mixture``; readers and ranks see one data set.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import xxhash

from headrace.core.records import replace
from headrace.data.buffers import Buffers
from headrace.data.damage import Damage
from headrace.data.dataset import Source, TokenDataset, Tokens
from headrace.data.errors import BatchesRefused
from headrace.data.fill import Filled, Places
from headrace.data.index import Piece
from headrace.data.order import Indices

_COLUMNS = ("indices", "units", "rows", "files", "starts", "sizes", "digests")


@dataclass(frozen=True, slots=True)
class MixedPlaces(Places):
    """``numbers``: of the source that each sample lies in; the other columns are that source's."""

    numbers: list[int]

    def cut(self, start: int, stop: int) -> "MixedPlaces":
        whole = Places.cut(self, start, stop)
        return MixedPlaces(**_columns(whole), numbers=self.numbers[start:stop])

    def of(self, number: int) -> tuple[list[int], Places]:
        """Where in the batch the samples of a source come, and their places."""
        at = [n for n, source in enumerate(self.numbers) if source == number]
        return at, Places(
            **{name: [column[n] for n in at] for name, column in _columns(self).items()}
        )


class Mix:
    """Made by ``mix``. ``names[i]`` is the name of ``sources[i]``."""

    def __init__(self, names: tuple[str, ...], sources: tuple[Source, ...]) -> None:
        self.names = names
        self.sources = sources
        self.is_tokens = sources[0].is_tokens
        self._ends = np.cumsum([len(source) for source in sources])
        self._starts = self._ends - np.array([len(source) for source in sources])

    @property
    def window(self) -> int:
        return self._tokens()[0].window

    @property
    def vocab(self) -> int:
        return max(source.vocab for source in self._tokens())

    @property
    def fingerprint(self) -> str:
        """The same for the same samples, wherever they lie."""
        parts = ",".join(f"{len(source)}:{source.fingerprint}" for source in self.sources)
        return xxhash.xxh3_128_hexdigest(parts.encode())

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, indices: Indices) -> Tokens:
        """See ``TokenDataset``."""
        filled = self.fill(self.find(indices), Buffers(most=0))
        if filled.damaged:
            raise filled.damaged[0].error()
        return cast(Tokens, filled.samples)

    def find(self, indices: Indices) -> MixedPlaces:
        """See ``Source``."""
        numbers, inner = self._split(indices)
        columns: dict[str, list[int]] = {name: [0] * len(indices) for name in _COLUMNS}
        for number in np.unique(numbers).tolist():
            at = np.flatnonzero(numbers == number)
            found = self.sources[number].find(inner[at])
            for name, part in _columns(found).items():
                column = columns[name]
                for n, value in zip(at.tolist(), part, strict=True):
                    column[n] = value
        return MixedPlaces(**columns, numbers=numbers.tolist())

    def fill(self, places: Places, buffers: Buffers) -> Filled:
        """See ``Source``."""
        assert isinstance(places, MixedPlaces)
        parts: list[tuple[list[int], Any]] = []
        damaged: dict[int, Damage] = {}
        for number in sorted(set(places.numbers)):
            at, part = places.of(number)
            filled = self.sources[number].fill(part, Buffers(most=0))
            good = list(range(len(at))) if filled.good is None else filled.good
            parts.append(([at[n] for n in good], filled.samples))
            bad = sorted(set(range(len(at))) - set(good))
            for n, damage in zip(bad, filled.damaged, strict=True):
                damaged[at[n]] = replace(damage, index=damage.index + int(self._starts[number]))
        samples = self._joined(parts, len(places), buffers)
        if not damaged:
            return Filled(samples)
        good_at = [n for n in range(len(places)) if n not in damaged]
        samples = samples[good_at] if self.is_tokens else [samples[n] for n in good_at]
        return Filled(samples, tuple(damaged[n] for n in sorted(damaged)), good_at)

    def origin(self, index: int) -> tuple[Piece, ...]:
        """See ``TokenDataset``."""
        numbers, inner = self._split(np.array([index], dtype=np.int64))
        return self._tokens()[int(numbers[0])].origin(int(inner[0]))

    def _joined(self, parts: list[tuple[list[int], Any]], count: int, buffers: Buffers) -> Any:  # noqa: ANN401 - by kind
        """``count`` samples, each part's at its places."""
        if not self.is_tokens:
            samples: list[Any] = [None] * count
            for at, part in parts:
                for n, sample in zip(at, part, strict=True):
                    samples[n] = sample
            return samples
        dtype = np.result_type(*(part.dtype for _, part in parts)) if parts else np.dtype("<u2")
        width = self.window + 1
        rows = buffers.get(count * width * dtype.itemsize).view(dtype).reshape(count, width)
        for at, part in parts:
            rows[at] = part
        return rows

    def _split(self, indices: Indices) -> tuple[Indices, Indices]:
        """The number of the source, and the sample's number in it."""
        if indices.size and not 0 <= indices.min() <= indices.max() < len(self):
            raise IndexError(f"sample indices must be in [0, {len(self)})")
        numbers = np.searchsorted(self._ends, indices, side="right")
        return numbers, indices - self._starts[numbers]

    def _tokens(self) -> tuple[TokenDataset, ...]:
        return cast(tuple[TokenDataset, ...], self.sources)


def mix(**sources: Source) -> Mix:
    """``mix(wiki=first, code=second)``. Raise ``BatchesRefused`` when they cannot be mixed.

    New sources may be added behind the others when a run goes on.
    """
    if not sources:
        raise BatchesRefused(
            "a mix of no data sets", why="there is nothing to draw", remedy="data.mix(wiki=dataset)"
        )
    kinds = {name: _kind(source) for name, source in sources.items()}
    if len(set(kinds.values())) > 1:
        raise BatchesRefused(
            "data sets of different kinds cannot be mixed",
            why=", ".join(f"{name} has {kind}" for name, kind in kinds.items()),
            remedy="pack or index them with one window",
        )
    empty = next((name for name, source in sources.items() if len(source) == 0), None)
    if empty is not None:
        raise BatchesRefused(
            f"the source {empty} of a mix has no samples",
            why="a split may have left it empty",
            remedy="leave it out, or give a larger split",
        )
    return Mix(tuple(sources), tuple(sources.values()))


def _kind(source: Source) -> str:
    if not source.is_tokens:
        return "samples of bytes or fields"
    return f"windows of {cast(TokenDataset, source).window} tokens"


def _columns(places: Places) -> dict[str, list[int]]:
    return {name: getattr(places, name) for name in _COLUMNS}
