"""The promises of ``headrace.data.order``, for every size, seed and world."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.data.order import (
    WHOLE,
    Blocks,
    Indices,
    Order,
    Sequential,
    indices_at,
    rank_slice,
    sample_at,
)

lengths = st.integers(1, 3000)
seeds = st.integers(-(2**63), 2**64)
epochs = st.integers(0, 2**40)


@given(seeds, epochs, lengths)
def test_an_epoch_is_a_permutation_of_the_data_set(seed: int, epoch: int, length: int) -> None:
    order = sample_at(seed, epoch, np.arange(length), length)
    assert np.array_equal(np.sort(order), np.arange(length))


@given(seeds, epochs, st.integers(1, 2**50), st.data())
def test_a_position_alone_is_the_same_sample_as_in_an_array(
    seed: int, epoch: int, length: int, data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, length - 1))
    alone = sample_at(seed, epoch, position, length)
    assert sample_at(seed, epoch, np.array([[0, position]]), length)[0, 1] == alone
    assert 0 <= alone < length


@given(seeds, st.integers(0, 100), st.integers(64, 3000))
def test_epochs_and_seeds_differ(seed: int, epoch: int, length: int) -> None:
    positions = np.arange(length)
    here = sample_at(seed, epoch, positions, length)
    assert not np.array_equal(here, sample_at(seed, epoch + 1, positions, length))
    assert not np.array_equal(here, sample_at(seed + 1, epoch, positions, length))


@st.composite
def orders(draw: st.DrawFn) -> Order:
    return draw(
        st.one_of(
            st.just(WHOLE),
            st.just(Sequential()),
            st.builds(Blocks, block=st.integers(1, 300), window=st.integers(1, 20)),
        )
    )


@given(orders(), seeds, lengths, st.integers(0, 5))
def test_every_order_gives_each_sample_once_an_epoch(
    order: Order, seed: int, length: int, epoch: int
) -> None:
    positions = np.arange(epoch * length, (epoch + 1) * length)
    found = indices_at(order, seed, positions, length)
    assert np.array_equal(np.sort(found), np.arange(length))


@given(orders(), seeds, st.integers(1, 2**40), st.integers(0, 2**60), st.integers(1, 50))
def test_a_stream_cut_anywhere_is_the_same_stream(
    order: Order, seed: int, length: int, first: int, size: int
) -> None:
    whole = indices_at(order, seed, np.arange(first, first + size), length)
    alone = [
        indices_at(order, seed, np.arange(n, n + 1), length) for n in range(first, first + size)
    ]
    assert np.array_equal(np.concatenate(alone), whole)
    assert 0 <= whole.min() <= whole.max() < length


@given(st.integers(0, 10**6), st.integers(1, 64))
def test_ranks_share_a_batch_without_gap_and_differ_by_at_most_one(batch: int, world: int) -> None:
    shares = [rank_slice(batch, rank, world) for rank in range(world)]
    assert shares[0][0] == 0
    assert shares[-1][1] == batch
    assert all(before[1] == after[0] for before, after in pairwise(shares))
    sizes = [stop - start for start, stop in shares]
    assert max(sizes) - min(sizes) <= 1


@given(seeds, lengths, st.integers(1, 300), st.integers(1, 20), st.integers(0, 3))
def test_a_block_is_read_within_one_window(
    seed: int, length: int, block: int, window: int, epoch: int
) -> None:
    positions = np.arange(epoch * length, (epoch + 1) * length)
    blocks = indices_at(Blocks(block=block, window=window), seed, positions, length) // block
    read: set[int] = set()
    place = 0
    while place < length:  # a window is over when all samples of its blocks have come
        held = _window_from(blocks, place, block, window, length)
        assert read.isdisjoint(held)
        read |= held
        place += sum(min(block, length - one * block) for one in held)
    assert place == length


def _window_from(blocks: Indices, place: int, block: int, window: int, length: int) -> set[int]:
    """The blocks of the window that begins at ``place``: it ends where all of them are whole."""
    left = -(-length // block) - len(set(blocks[:place].tolist()))
    stop = min(length, place + block * window)
    held = set(blocks[place:stop].tolist())
    if len(held) > min(window, left):  # one block is short
        short = (length - 1) % block + 1
        held = set(blocks[place : stop - (block - short)].tolist())
    assert len(held) <= window
    return held


def test_first_positions_hit_every_part_of_the_data_set_evenly() -> None:
    tenths = sample_at(7, 0, np.arange(10_000), 1_000_000) // 100_000
    counts = np.bincount(tenths, minlength=10)
    assert counts.min() > 850
    assert counts.max() < 1150


def test_neighbours_in_order_are_not_neighbours_in_the_data_set() -> None:
    order = sample_at(7, 0, np.arange(10_000), 10_000)
    correlation = np.corrcoef(order[:-1], order[1:])[0, 1]
    assert abs(correlation) < 0.05


@pytest.mark.parametrize("position", [-1, 5])
def test_a_position_outside_the_data_set_is_refused(position: int) -> None:
    with pytest.raises(ValueError, match=r"positions must be in \[0, 5\)"):
        sample_at(0, 0, position, 5)


def test_the_order_is_the_one_of_the_first_release() -> None:
    """A change here would change what every saved position means."""
    assert sample_at(7, 0, np.arange(10), 10).tolist() == [2, 4, 0, 9, 3, 5, 7, 8, 6, 1]
    assert sample_at(7, 3, 123_456_789, 10**12) == 200_029_068_786


@pytest.mark.parametrize("length", [2, 3, 5, 8, 12])
@pytest.mark.parametrize("order", [WHOLE, Blocks(block=2, window=100), Blocks(block=1, window=3)])
def test_every_sample_comes_at_every_position_equally_often(order: Order, length: int) -> None:
    """Chi-square over 1000 epochs; a fair shuffle fails once in about 10^5 times."""
    orders = indices_at(order, 7, np.arange(1000 * length), length).reshape(1000, length)
    counts = np.array([np.bincount(at, minlength=length) for at in orders.T])
    expected = 1000 / length
    chi_square = ((counts - expected) ** 2 / expected).sum()
    freedom = (length - 1) ** 2
    assert chi_square < freedom + 4.3 * np.sqrt(2 * freedom) + 12


@pytest.mark.parametrize("length", [3, 8, 12])
def test_seeds_next_to_one_another_are_independent(length: int) -> None:
    firsts = [sample_at(seed, 0, 0, length) for seed in range(2000)]
    counts = np.zeros((length, length))
    np.add.at(counts, (firsts[:-1], firsts[1:]), 1)
    expected = 1999 / length**2
    freedom = length**2 - 1
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < freedom + 4.3 * np.sqrt(2 * freedom) + 12


def test_epochs_of_one_seed_are_independent() -> None:
    orders = [sample_at(7, epoch, np.arange(4096), 4096) for epoch in range(40)]
    correlations = np.asarray(np.corrcoef(orders)) - np.eye(40)
    assert np.abs(correlations).max() < 5 / np.sqrt(4096)


@pytest.mark.parametrize(("length", "block", "window"), [(10_000, 64, 16), (4097, 256, 4)])
def test_blocks_hide_no_order_of_neighbours(length: int, block: int, window: int) -> None:
    order = indices_at(Blocks(block=block, window=window), 7, np.arange(length), length)
    steps = np.diff(order)
    assert np.mean(steps == 1) < 3 / (block * window) + 0.005
