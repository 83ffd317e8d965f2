"""Which sample comes when: a pure function of (seed, position), whatever the world size.

An epoch's order is a keyed bijection on ``[0, length)``: a Feistel network on the smallest power of
two that holds ``length``, walked until it lands inside (cycle walking; Black and Rogaway, "Ciphers
with Arbitrary Finite Domains", 2002). No permutation is stored; any position is found in constant
time. This shuffles; it does not keep secrets.

Training sees one endless stream of positions: epoch e is positions ``[e * length, (e+1) * length)``
and global batches cross its border without a gap. Rank r takes a contiguous slice of each global
batch, so the batch is the same samples in the same order at any world size.
"""

from typing import overload

import numpy as np
from numpy.typing import NDArray

from headrace.core.records import Tagged

Indices = NDArray[np.int64]
_Words = NDArray[np.uint64]

_WORD = 0xFFFF_FFFF_FFFF_FFFF
_GOLDEN = 0x9E37_79B9_7F4A_7C15
_ROUNDS = 8
_SHORT, _WINDOWS = 1, 2  # streams of numbers for block-wise order


class Whole(Tagged, frozen=True, kw_only=True):
    """Every sample may come at any position of its epoch."""


class Blocks(Tagged, frozen=True, kw_only=True):
    """Blocks of ``block`` neighbouring samples come in a shuffled order; inside each ``window`` of
    blocks that follow one another samples are shuffled. Storage sees reads of whole blocks, and
    ``block * window`` samples hold all that is read at a time."""

    block: int
    window: int

    def __post_init__(self) -> None:
        if self.block < 1 or self.window < 1:
            raise ValueError(f"block and window are 1 or more, not {self.block} and {self.window}")


class Sequential(Tagged, frozen=True, kw_only=True):
    """As the data set lies."""


Order = Whole | Blocks | Sequential
WHOLE = Whole()


def indices_at(order: Order, seed: int, positions: Indices, length: int) -> Indices:
    """The samples at positions of the endless stream of one data set, in their order."""
    epochs, places = np.divmod(positions, length)
    match order:
        case Whole():
            return sample_at(seed, epochs, places, length)
        case Blocks():
            found = np.empty(len(positions), dtype=np.int64)
            for epoch in np.unique(epochs):
                of_epoch = epochs == epoch
                found[of_epoch] = _block_wise(order, seed, int(epoch), places[of_epoch], length)
            return found
        case Sequential():
            return places


@overload
def sample_at(seed: int, epoch: int, position: int, length: int) -> int: ...
@overload
def sample_at(seed: int, epoch: int | Indices, position: Indices, length: int) -> Indices: ...
def sample_at(
    seed: int, epoch: int | Indices, position: int | Indices, length: int
) -> int | Indices:
    """The sample at ``position`` of ``epoch``; for fixed seed and epoch a bijection of
    ``[0, length)``.

    ``position`` may be an array of any shape, with ``epoch`` broadcast against it. Raise
    ``ValueError`` for a position outside ``[0, length)``.
    """
    epochs, positions = np.broadcast_arrays(
        np.asarray(epoch, dtype=np.int64), np.asarray(position, dtype=np.int64)
    )
    if positions.size and not (positions.min() >= 0 and positions.max() < length):
        raise ValueError(f"positions must be in [0, {length})")
    found = _shuffled(seed, epochs.ravel(), positions.ravel(), length)
    return int(found[0]) if isinstance(position, int) else found.reshape(positions.shape)


def rank_slice(global_batch: int, rank: int, world: int) -> tuple[int, int]:
    """``(start, stop)`` of this rank's contiguous share; shares differ by at most one sample."""
    return global_batch * rank // world, global_batch * (rank + 1) // world


def derived_seed(seed: int, number: int) -> int:
    """A seed of its own for the ``number``-th of several streams."""
    start = _mix(np.array([seed & _WORD], dtype=np.uint64) + np.uint64(_GOLDEN))
    return int(_mix(start ^ np.uint64((number * _GOLDEN + 1) & _WORD))[0])


def hashed(seed: int, count: int) -> _Words:
    """``count`` different words: sorted by them, ``range(count)`` is shuffled."""
    key = np.array([seed & _WORD], dtype=np.uint64)
    return _mix(key + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN))


def _block_wise(order: Blocks, seed: int, epoch: int, places: Indices, length: int) -> Indices:
    """The last block, which may be short, stands at a keyed place among the others. Windows are
    counted in blocks, so the one that holds it is shorter, and all later ones begin earlier."""
    blocks = -(-length // order.block)
    missing = blocks * order.block - length
    if blocks == 1:
        return sample_at(seed, epoch, places, length)
    window = order.block * min(order.window, blocks)
    short_at = derived_seed(derived_seed(seed, epoch), _SHORT) % blocks
    short_window = short_at * order.block // window
    before = places < (short_window + 1) * window - missing
    windows = np.where(before, places, places + missing) // window
    starts = windows * window - np.where(windows > short_window, missing, 0)
    ends = (windows + 1) * window - np.where(windows >= short_window, missing, 0)
    sizes = np.minimum(ends, length) - starts
    mixed = np.empty_like(places)
    inner = derived_seed(derived_seed(seed, epoch), _WINDOWS)
    for size in np.unique(sizes):
        of_size = sizes == size
        mixed[of_size] = starts[of_size] + _shuffled(
            inner, windows[of_size], places[of_size] - starts[of_size], int(size)
        )
    return _in_blocks(order.block, seed, epoch, mixed, length, short_at)


def _in_blocks(
    block: int, seed: int, epoch: int, places: Indices, length: int, short_at: int
) -> Indices:
    """The sample at places of the blocks in their shuffled order, without windows."""
    full, short = divmod(length - 1, block)
    short += 1
    first = short_at * block
    in_short = (places >= first) & (places < first + short)
    numbers, offsets = np.divmod(np.where(places < first, places, places - short), block)
    numbers = np.where(in_short, 0, numbers)
    found = sample_at(seed, epoch, numbers, full) * block + offsets
    return np.where(in_short, full * block + places - first, found)


def _shuffled(seed: int, epochs: Indices, places: Indices, length: int) -> Indices:
    """``epochs`` key the permutations, one for each of ``places``."""
    if epochs.size and epochs.min() == epochs.max():
        epochs = epochs[:1]
    keys = _round_keys(seed, epochs.astype(np.uint64))
    bits = (length - 1).bit_length() if length else 0
    found = _permute(places.astype(np.uint64), keys, bits)
    while (outside := np.flatnonzero(found >= np.uint64(length))).size:
        of_outside = keys if epochs.size == 1 else keys[:, outside]
        found[outside] = _permute(found[outside], of_outside, bits)
    return found.astype(np.int64)


def _mix(words: _Words) -> _Words:
    """The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return words ^ (words >> np.uint64(31))


def _round_keys(seed: int, epochs: _Words) -> _Words:
    """Keys of shape [rounds, len(epochs)]."""
    start = _mix(_mix(np.array([seed & _WORD], dtype=np.uint64) + np.uint64(_GOLDEN)) ^ epochs)
    steps = np.array([(n + 1) * _GOLDEN & _WORD for n in range(_ROUNDS)], dtype=np.uint64)
    return _mix(start[None, :] + steps[:, None])


def _permute(words: _Words, keys: _Words, bits: int) -> _Words:
    """One pass of an unbalanced Feistel network on ``[0, 2**bits)``."""
    low_bits = np.uint64(bits // 2)
    low_mask = np.uint64((1 << (bits // 2)) - 1)
    high_mask = np.uint64((1 << (bits - bits // 2)) - 1)
    low, high = words & low_mask, words >> low_bits
    for number, key in enumerate(keys):
        if number % 2 == 0:
            high = high ^ (_mix(low ^ key) & high_mask)
        else:
            low = low ^ (_mix(high ^ key) & low_mask)
    return (high << low_bits) | low
