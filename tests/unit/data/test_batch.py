"""Batches over ranks, resumed, covered, and their thread."""

import gc
import json
import threading
from pathlib import Path

import numpy as np
import pytest

from headrace import data
from headrace.data.batch import Batches
from headrace.data.dataset import Piece, Tokens
from headrace.data.errors import BatchesRefused, DamagedData, StateMismatch
from headrace.data.order import Indices


class Numbers:
    """A data set whose sample i is [i, i, ...]; sample ``bad`` is damaged."""

    window = 3
    vocab = 1000
    fingerprint = "numbers"

    def __init__(self, length: int, *, bad: int | None = None) -> None:
        self._length = length
        self._bad = bad

    def __len__(self) -> int:
        return self._length

    def read(self, indices: Indices) -> Tokens:
        if self._bad is not None and self._bad in indices:
            raise DamagedData(Path("numbers"), "the checksum differs", start=0, stop=1, block=0)
        return np.repeat(indices[:, None], self.window + 1, axis=1).astype(np.uint16)

    def origin(self, index: int) -> tuple[Piece, ...]:
        return (Piece(source="numbers", start=index, stop=index + 1),)


def taken(source: Batches, count: int) -> list[data.Batch]:
    with source:
        return [next(source) for _ in range(count)]


def reading_threads() -> int:
    return sum(thread.name == "data-read" for thread in threading.enumerate())


@pytest.mark.parametrize("world", range(1, 9))
def test_every_world_size_sees_the_same_global_batches(world: int) -> None:
    alone = taken(data.batches(Numbers(37), global_batch=10, seed=7), 12)
    ranks = [
        taken(data.batches(Numbers(37), global_batch=10, seed=7, rank=rank, world=world), 12)
        for rank in range(world)
    ]
    for step, whole in enumerate(alone):
        parts = [batches[step] for batches in ranks]
        assert np.array_equal(np.concatenate([part.samples for part in parts]), whole.samples)
        assert np.array_equal(np.concatenate([part.indices for part in parts]), whole.indices)
        assert {part.consumed_after for part in parts} == {(step + 1) * 10}


def test_ranks_without_a_sample_get_empty_batches() -> None:
    (batch,) = taken(data.batches(Numbers(5), global_batch=2, seed=1, rank=0, world=3), 1)
    assert batch.samples.shape == (0, 4)
    assert (batch.global_batch, batch.consumed_after) == (2, 2)


def test_a_resumed_stream_goes_on_exactly_at_another_world_size_and_batch() -> None:
    straight = taken(data.batches(Numbers(23), global_batch=6, seed=3), 10)
    first = data.batches(Numbers(23), global_batch=6, seed=3, rank=1, world=2)
    taken(first, 5)
    state = json.loads(json.dumps(first.state()))
    assert state == {
        "seed": 3,
        "epoch": 1,
        "consumed": 30,
        "length": 23,
        "fingerprint": "numbers",
    }
    rest = taken(data.resume(Numbers(23), state, global_batch=15, seed=3), 2)
    assert np.array_equal(
        np.concatenate([batch.indices for batch in rest]),
        np.concatenate([batch.indices for batch in straight[5:]]),
    )


def test_the_state_counts_what_was_given_out_and_not_what_was_read_ahead() -> None:
    source = data.batches(Numbers(100), global_batch=4, seed=0, read_ahead=8)
    with source:
        assert source.consumed == 0
        next(source)
        assert source.consumed == 4
        assert source.cursor == data.Cursor(seed=0, epoch=0, consumed=4)


@pytest.mark.parametrize(
    ("field", "saved"), [("seed", 4), ("length", 22), ("fingerprint", "x"), ("consumed", "7")]
)
def test_a_position_of_other_data_is_refused(field: str, saved: object) -> None:
    state = {**data.batches(Numbers(23), global_batch=6, seed=3).state(), field: saved}
    with pytest.raises(StateMismatch) as caught:
        data.resume(Numbers(23), state, global_batch=6, seed=3)
    assert caught.value.field == field


def test_the_mismatch_says_what_was_saved_and_what_is_here() -> None:
    state = data.batches(Numbers(23), global_batch=6, seed=3).state()
    with pytest.raises(StateMismatch) as caught:
        data.resume(Numbers(23), state, global_batch=6, seed=4)
    assert str(caught.value) == (
        "error HR-DATA-008: the saved position has seed 3, but here it is 4\n"
        "  why: going on would train on other samples, in another order, than the run that saved\n"
        "  fix: give the data set and seed of the saved run (seed 3), or start without its position"
    )


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize(("length", "batch"), [(1, 4), (10, 4), (12, 4), (5, 100)])
def test_cover_gives_each_sample_exactly_once_and_ranks_equally_many_batches(
    length: int, batch: int, world: int
) -> None:
    ranks = [
        list(data.cover(Numbers(length), batch=batch, rank=rank, world=world))
        for rank in range(world)
    ]
    assert {len(batches) for batches in ranks} == {-(-length // batch)}
    seen = [index for batches in ranks for part in batches for index in part.indices.tolist()]
    assert sorted(seen) == list(range(length))
    assert sum(part.global_batch for part in ranks[0]) == length


def test_damage_is_raised_where_its_batch_would_have_come() -> None:
    source = data.cover(Numbers(10, bad=7), batch=2)
    with source:
        assert [next(source).indices[0] for _ in range(3)] == [0, 2, 4]
        for _ in range(2):
            with pytest.raises(DamagedData, match="block 0"):
                next(source)


def test_closing_ends_the_thread_and_the_iteration() -> None:
    before = reading_threads()
    source = data.batches(Numbers(10), global_batch=2, seed=0)
    next(source)
    assert reading_threads() == before + 1
    source.close()
    source.close()
    assert reading_threads() == before
    with pytest.raises(StopIteration):
        next(source)


def test_an_iterator_that_is_dropped_ends_its_thread() -> None:
    before = reading_threads()
    source = data.batches(Numbers(10), global_batch=2, seed=0)
    next(source)
    del source
    gc.collect()
    assert reading_threads() == before


def test_a_stream_that_is_never_read_starts_no_thread() -> None:
    before = reading_threads()
    data.batches(Numbers(10), global_batch=2, seed=0)
    assert reading_threads() == before


def test_the_thread_reads_no_further_ahead_than_it_may() -> None:
    reads = []

    class Counted(Numbers):
        def read(self, indices: Indices) -> Tokens:
            reads.append(indices)
            return super().read(indices)

    with data.batches(Counted(10), global_batch=1, seed=0, read_ahead=3) as source:
        for _ in range(5):
            next(source)
    assert 5 <= len(reads) <= 5 + 3 + 1


@pytest.mark.parametrize(
    ("length", "batch", "rank", "world", "start", "what"),
    [
        (0, 2, 0, 1, 0, "a data set of 0 samples"),
        (9, 0, 0, 1, 0, "a batch of 0 samples"),
        (9, 2, 2, 2, 0, "rank 2 of 2"),
        (9, 2, -1, 2, 0, "rank -1 of 2"),
        (9, 2, 0, 1, -3, "a start after -3 samples"),
    ],
)
def test_batches_that_make_no_sense_are_refused(
    length: int, batch: int, rank: int, world: int, start: int, what: str
) -> None:
    with pytest.raises(BatchesRefused) as caught:
        data.batches(
            Numbers(length), global_batch=batch, seed=0, rank=rank, world=world, start=start
        )
    assert str(caught.value) == (
        f"error HR-DATA-007: no batches can be drawn with {what}\n"
        "  why: batch and data set need at least 1 sample, start is 0 or more, "
        "and 0 <= rank < world\n"
        "  fix: correct that number; a split may have left the data set empty"
    )
