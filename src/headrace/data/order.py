"""Which sample comes when: a pure function of (seed, epoch, position), whatever the world size.

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

from headrace.core.records import Record

Indices = NDArray[np.int64]
_Words = NDArray[np.uint64]

_WORD = 0xFFFF_FFFF_FFFF_FFFF
_GOLDEN = 0x9E37_79B9_7F4A_7C15
_ROUNDS = 8


class Cursor(Record, frozen=True, kw_only=True):
    """Where training is. ``consumed`` counts samples of all ranks since the start of the run;
    ``epoch`` is the one that the next sample belongs to."""

    seed: int
    epoch: int
    consumed: int


def cursor_at(seed: int, consumed: int, length: int) -> Cursor:
    """The cursor after ``consumed`` samples of a data set of ``length``."""
    return Cursor(seed=seed, epoch=consumed // length, consumed=consumed)


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
    keys = _round_keys(seed, epochs.ravel().astype(np.uint64))
    bits = (length - 1).bit_length() if length else 0
    found = _permute(positions.ravel().astype(np.uint64), keys, bits)
    while (outside := np.flatnonzero(found >= np.uint64(length))).size:
        found[outside] = _permute(found[outside], keys[:, outside], bits)
    if isinstance(position, int):
        return int(found[0])
    return found.astype(np.int64).reshape(positions.shape)


def batch_positions(consumed: int, global_batch: int) -> Indices:
    """Positions in the endless stream of the global batch that follows ``consumed`` samples."""
    return np.arange(consumed, consumed + global_batch, dtype=np.int64)


def samples_at(seed: int, positions: Indices, length: int) -> Indices:
    """The samples at positions of the endless stream, in their order."""
    return sample_at(seed, positions // length, positions % length, length)


def rank_slice(global_batch: int, rank: int, world: int) -> tuple[int, int]:
    """``(start, stop)`` of this rank's contiguous share; shares differ by at most one sample."""
    return global_batch * rank // world, global_batch * (rank + 1) // world


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
