"""The promises of ``headrace.data.order``, for every size, seed and world."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.data.order import batch_positions, cursor_at, rank_slice, sample_at, samples_at

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


@given(seeds, lengths, st.integers(0, 10**6), st.integers(1, 300))
def test_ranks_together_see_the_global_batch_in_order_at_every_world_size(
    seed: int, length: int, consumed: int, global_batch: int
) -> None:
    whole = samples_at(seed, batch_positions(consumed, global_batch), length)
    for world in range(1, 9):
        shares = [rank_slice(global_batch, rank, world) for rank in range(world)]
        assert np.array_equal(np.concatenate([whole[a:b] for a, b in shares]), whole)
        sizes = [b - a for a, b in shares]
        assert max(sizes) - min(sizes) <= 1


@given(seeds, lengths, st.lists(st.integers(1, 200), min_size=1, max_size=6))
def test_a_stream_cut_into_any_batches_is_the_same_stream_across_epochs(
    seed: int, length: int, sizes: list[int]
) -> None:
    total = sum(sizes)
    consumed, parts = 0, []
    for size in sizes:
        cursor = cursor_at(seed, consumed, length)
        assert cursor.epoch == consumed // length
        parts.append(samples_at(seed, batch_positions(cursor.consumed, size), length))
        consumed += size
    whole = samples_at(seed, batch_positions(0, total), length)
    assert np.array_equal(np.concatenate(parts), whole)
    for epoch in range(total // length):
        once = whole[epoch * length : (epoch + 1) * length]
        assert np.array_equal(np.sort(once), np.arange(length))


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
