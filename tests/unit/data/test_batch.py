"""Batches over ranks, resumed, covered, and their thread."""

import gc
import json
import threading
import time
from typing import Any

import numpy as np
import pytest

from headrace import data
from headrace.core.records import encode
from headrace.data import batch
from headrace.data.batch import Batches
from headrace.data.buffers import Buffers
from headrace.data.damage import Damage
from headrace.data.dataset import Tokens
from headrace.data.errors import BatchesRefused, DamagedData, StateMismatch, TooMuchDamage
from headrace.data.fill import Filled, Found, Places
from headrace.data.order import Indices


class Numbers:
    """A data set whose sample i is [i, i, ...]; sample ``bad`` is damaged."""

    window = 3
    vocab = 1000
    fingerprint = "numbers"
    is_tokens = True
    sample_shape = (4,)

    def __init__(self, length: int, *, bad: int | None = None) -> None:
        self._length = length
        self._bad = bad

    def __len__(self) -> int:
        return self._length

    def find(self, indices: Indices) -> Places:
        numbers = indices.tolist()
        return Places(numbers, numbers, numbers, numbers, numbers, numbers, numbers)

    def fill(self, places: Found, buffers: Buffers) -> Filled:
        assert isinstance(places, Places)
        good = [n for n, index in enumerate(places.indices) if index != self._bad]
        rows = np.repeat(np.array(places.indices, np.int64)[good][:, None], self.window + 1, axis=1)
        damaged = tuple(
            Damage(index=index, path="numbers", start=0, stop=1, why="the checksum differs")
            for index in places.indices
            if index == self._bad
        )
        return Filled(rows.astype(np.uint16), damaged, good if damaged else None)


def taken(source: Batches, count: int) -> list[data.Batch]:
    with source:
        return [next(source) for _ in range(count)]


def reading_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "data-read"}


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
    state = json.loads(encode(first.state))
    assert (state["version"], state["step"], state["consumed"]) == (1, 5, 30)
    rest = taken(data.resume(Numbers(23), state, global_batch=15, seed=3), 2)
    assert np.array_equal(
        np.concatenate([batch.indices for batch in rest]),
        np.concatenate([batch.indices for batch in straight[5:]]),
    )


def test_the_state_counts_what_was_given_out_and_not_what_was_read_ahead() -> None:
    source = data.batches(Numbers(100), global_batch=4, seed=0, reading=data.Reading(read_ahead=8))
    with source:
        assert source.consumed == 0
        next(source)
        assert source.consumed == 4
        assert source.state.step == 1


def test_a_position_of_another_seed_is_refused_in_words() -> None:
    state = data.batches(Numbers(23), global_batch=6, seed=3).state
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
            with pytest.raises(DamagedData, match="sample 7"):
                next(source)


def test_closing_ends_the_thread_and_the_iteration() -> None:
    before = reading_threads()
    source = data.batches(Numbers(10), global_batch=2, seed=0)
    next(source)
    assert len(reading_threads() - before) == 2
    source.close()
    source.close()
    assert not reading_threads() - before
    with pytest.raises(StopIteration):
        next(source)


def test_an_iterator_that_is_dropped_ends_its_thread() -> None:
    before = reading_threads()
    source = data.batches(Numbers(10), global_batch=2, seed=0)
    next(source)
    del source
    gc.collect()
    end_s = time.monotonic() + 20
    while reading_threads() - before:
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_an_iterator_that_is_collected_in_one_of_its_own_threads_ends_them() -> None:
    before = reading_threads()
    held: dict[str, Batches] = {}

    class Dropping(Numbers):
        def find(self, indices: Indices) -> Places:
            if len(indices) > 100:  # while the other thread waits for its turn to plan
                time.sleep(0.1)
                held.clear()
            return super().find(indices)

    held["source"] = data.batches(Dropping(1000), global_batch=1, seed=0)
    for _ in range(62):  # of the 64 that are found at first; the rest is found meanwhile
        next(held["source"])
    end_s = time.monotonic() + 20
    while held or reading_threads() - before:
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_closing_leaves_a_transform_that_never_ends_to_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch, "WAIT_S", 0.2)
    again = threading.Event()

    def hang(row: Any) -> Any:  # noqa: ANN401
        if row[0] == 5:
            again.wait(60)
        return row

    reading = data.Reading(transform=hang)
    with data.cover(Numbers(10), batch=1, reading=reading) as source:
        next(source)
        time.sleep(0.1)
        begin_s = time.monotonic()
    took_s = time.monotonic() - begin_s
    again.set()
    assert took_s < 30


def test_a_stream_that_is_never_read_starts_no_thread() -> None:
    before = reading_threads()
    data.batches(Numbers(10), global_batch=2, seed=0)
    assert not reading_threads() - before


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_read_no_further_ahead_than_they_may(threads: int) -> None:
    reads = []

    class Counted(Numbers):
        def fill(self, places: Found, buffers: Buffers) -> Filled:
            assert isinstance(places, Places)
            reads.append(places)
            return super().fill(places, buffers)

    reading = data.Reading(threads=threads, read_ahead=6)
    with data.batches(Counted(10), global_batch=1, seed=0, reading=reading) as source:
        for _ in range(5):
            next(source)
    assert 5 <= len(reads) <= 5 + 6


@pytest.mark.parametrize("threads", [0, 1, 2, 7])
def test_batches_come_in_order_however_many_threads_read(threads: int) -> None:
    class Uneven(Numbers):
        def fill(self, places: Found, buffers: Buffers) -> Filled:
            assert isinstance(places, Places)
            time.sleep(places.indices[0] % 3 / 1000)
            return super().fill(places, buffers)

    reading = data.Reading(threads=threads, read_ahead=8)
    with data.cover(Uneven(60), batch=2, reading=reading) as source:
        seen = [index for batch in source for index in batch.indices.tolist()]
    assert seen == list(range(60))


def test_transform_and_collate_make_what_the_loop_takes() -> None:
    reading = data.Reading(transform=lambda row: row.sum(), collate=list)
    with data.cover(Numbers(6), batch=3, reading=reading) as source:
        assert [batch.samples for batch in source] == [[0, 4, 8], [12, 16, 20]]


def test_an_error_of_transform_is_raised_where_its_batch_would_have_come() -> None:
    def fail_at_5(row: Tokens) -> Tokens:
        if row[0] == 5:
            raise ZeroDivisionError("five")
        return row

    with data.cover(Numbers(8), batch=2, reading=data.Reading(transform=fail_at_5)) as source:
        next(source)
        next(source)
        with pytest.raises(ZeroDivisionError, match="five"):
            next(source)


def test_quarantine_leaves_the_damaged_sample_out_and_says_so() -> None:
    reading = data.Reading(on_damage="quarantine")
    with data.cover(Numbers(10, bad=7), batch=4, reading=reading) as source:
        batches = list(source)
    assert [batch.indices.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6], [8, 9]]
    assert batches[1].samples[:, 0].tolist() == [4, 5, 6]
    assert [one.index for one in batches[1].damaged] == [7]
    assert batches[1].global_batch == 4
    assert (source.quarantine.left_out, list(source.quarantine.report)) == (1, [7])


def test_more_damage_than_allowed_ends_the_stream() -> None:
    reading = data.Reading(on_damage="quarantine", damage_limit=0)
    with data.cover(Numbers(10, bad=7), batch=4, reading=reading) as source:
        next(source)
        with pytest.raises(TooMuchDamage) as caught:
            next(source)
    assert str(caught.value) == (
        "error HR-DATA-014: 1 of 8 samples read so far were damaged\n"
        "  why: at most 0.000% may be left out; the last was sample 7, numbers bytes 0 to 1\n"
        "  fix: list the damage with: headrace data verify PATH; copy those files again, "
        "or allow more with damage_limit"
    )


@pytest.mark.parametrize(
    ("length", "batch", "rank", "world", "what"),
    [
        (0, 2, 0, 1, "a data set of 0 samples"),
        (9, 0, 0, 1, "a batch of 0 samples"),
        (9, 2, 2, 2, "rank 2 of 2"),
        (9, 2, -1, 2, "rank -1 of 2"),
    ],
)
def test_batches_that_make_no_sense_are_refused(
    length: int, batch: int, rank: int, world: int, what: str
) -> None:
    with pytest.raises(BatchesRefused) as caught:
        data.batches(Numbers(length), global_batch=batch, seed=0, rank=rank, world=world)
    assert str(caught.value) == (
        f"error HR-DATA-007: no batches can be drawn with {what}\n"
        "  why: batch and data set need at least 1 sample, and 0 <= rank < world\n"
        "  fix: correct that number; a split may have left the data set empty"
    )


def test_an_argument_that_is_none_is_refused_and_so_is_one_that_is_missing() -> None:
    asking: dict[str, Any] = {"global_batch": 2, "seed": 1}
    with pytest.raises(TypeError, match="unexpected argument 'epoch': batches take epochs, "):
        data.batches(Numbers(8), **asking, epoch=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="batches need the argument 'seed'"):
        data.batches(Numbers(8), global_batch=2)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("asking", "what"),
    [
        ({"global_batch": 8.0}, "global_batch is 8.0"),
        ({"global_batch": "8"}, "global_batch is '8'"),
        ({"global_batch": {0: 8, 1e3: 16}}, "a step of global_batch is 1000.0"),
        ({"global_batch": {0: 8, 5: None}}, "global_batch is None"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"seed": None}, "seed is None"),
        ({"order": data.Sequential}, "order is <class 'headrace.data.order.Sequential'>"),
        ({"order": "sequential"}, "order is 'sequential'"),
        ({"order": data.Blocks(block=2.0, window=2)}, "block is 2.0"),  # type: ignore[arg-type]
        ({"rank": 0.0}, "rank is 0.0"),
        ({"global_batch": 2**53}, f"no batches can be drawn with a batch of {2**53} samples"),
    ],
    ids=repr,
)
def test_what_is_no_whole_number_or_order_is_refused_before_anything_is_drawn(
    asking: dict[str, Any], what: str
) -> None:
    with pytest.raises(BatchesRefused) as caught:
        data.batches(Numbers(10), **{"global_batch": 8, "seed": 1, **asking})
    assert caught.value.problem == what


def test_a_float_is_refused_in_words() -> None:
    with pytest.raises(BatchesRefused) as caught:
        data.batches(Numbers(10), global_batch=8, seed=1.5)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "error HR-DATA-007: seed is 1.5\n"
        "  why: it has to be a whole number, and that is of type float\n"
        "  fix: give an int"
    )


def test_whole_numbers_of_numpy_are_asked_for_and_gone_on_with_as_those_of_python() -> None:
    asking: dict[str, Any] = {
        "global_batch": {np.int64(0): np.int32(4), np.int64(2): np.uint8(5)},
        "seed": np.int64(-1),
        "epochs": np.int64(3),
        "order": data.Blocks(block=np.int64(2), window=np.int64(2)),  # type: ignore[arg-type]
    }
    drawn = data.batches(Numbers(10), reading=data.Reading(threads=0), **asking)
    taken(drawn, 3)
    saved = json.loads(encode(drawn.state))
    rest = data.resume(Numbers(10), saved, reading=data.Reading(threads=0), **asking)
    assert (rest.consumed, [len(batch.indices) for batch in rest]) == (13, [5, 5, 5, 2])


def test_epochs_that_end_before_what_was_drawn_are_refused_and_later_ones_are_not() -> None:
    drawn = data.batches(Numbers(10), global_batch=5, seed=1, reading=data.Reading(threads=0))
    taken(drawn, 5)
    with pytest.raises(BatchesRefused) as caught:
        data.resume(Numbers(10), drawn.state, global_batch=5, seed=1, epochs=2)
    assert str(caught.value) == (
        "error HR-DATA-007: 2 epochs of 10 samples end before the 25 that were drawn\n"
        "  why: the plan would not say any more what the last steps of the run took\n"
        "  fix: give epochs=3 or more"
    )
    rest = data.resume(Numbers(10), drawn.state, global_batch=5, seed=1, epochs=3)
    assert len(taken(rest, 1)) == 1
    assert data.decode_state(json.loads(encode(rest.state))) == rest.state
