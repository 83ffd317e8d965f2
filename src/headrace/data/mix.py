"""Several data sets as one: the samples of the first, then those of the second, and so on.

Which of them come how often is decided by ``mixture``; readers and ranks see one data set.
"""

from dataclasses import dataclass
from math import prod
from typing import Any, cast

import numpy as np
import xxhash

from headrace.core.records import replace
from headrace.data.buffers import Buffers
from headrace.data.damage import Damage
from headrace.data.dataset import Source, TokenDataset, Tokens
from headrace.data.errors import BatchesRefused
from headrace.data.fill import Filled, Found
from headrace.data.index import Piece
from headrace.data.order import Indices


@dataclass(frozen=True, slots=True)
class MixedPlaces:
    """``numbers``: of the source that each sample lies in; ``parts``: what each source found."""

    numbers: list[int]
    parts: dict[int, Found]

    def __len__(self) -> int:
        return len(self.numbers)

    def cut(self, start: int, stop: int) -> "MixedPlaces":
        """See ``Found``."""
        numbers = self.numbers[start:stop]
        parts = {}
        for number in set(numbers):
            first = self.numbers[:start].count(number)
            parts[number] = self.parts[number].cut(first, first + numbers.count(number))
        return MixedPlaces(numbers, parts)


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
    def sample_shape(self) -> tuple[int, ...]:
        return self._tokens()[0].sample_shape

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
        parts = {
            number: self.sources[number].find(inner[numbers == number])
            for number in np.unique(numbers).tolist()
        }
        return MixedPlaces(numbers.tolist(), parts)

    def fill(self, places: Found, buffers: Buffers) -> Filled:
        """See ``Source``."""
        assert isinstance(places, MixedPlaces)
        parts: list[tuple[list[int], Any]] = []
        damaged: dict[int, Damage] = {}
        for number, part in places.parts.items():
            at = [n for n, source in enumerate(places.numbers) if source == number]
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
        shape = (count, *self.sample_shape)
        rows = buffers.get(prod(shape) * dtype.itemsize).view(dtype).reshape(shape)
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
    tokens = cast(TokenDataset, source)
    rows = f" in {tokens.sample_shape[0]} rows" if len(tokens.sample_shape) > 1 else ""
    return f"windows of {tokens.window} tokens{rows}"
