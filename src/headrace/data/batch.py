"""Batches of one rank, read ahead by threads.

``batches`` is the endless stream of training; ``cover`` gives each sample exactly once, for
evaluation. Order is decided in ``headrace.data.order``, and looked up for thousands of samples at
once; turning arrays into tensors is the trainer's.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from headrace.core.errors import HeadraceError
from headrace.data.buffers import Allocate, Buffers, plain
from headrace.data.damage import Damage, OnDamage, Quarantine
from headrace.data.dataset import Source
from headrace.data.errors import BatchesRefused, StateMismatch
from headrace.data.fill import Places
from headrace.data.formats.format import Sample
from headrace.data.order import (
    Cursor,
    Indices,
    batch_positions,
    cursor_at,
    rank_slice,
    samples_at,
)
from headrace.data.reader import Reader

_POSITIONS_AT_ONCE = 4096
State = dict[str, int | str]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How batches are read; none of it changes which samples come, nor their order.

    ``threads``: that read, verify, decode and transform (0: whoever asks for the batch does).
    ``read_ahead``: batches that wait or are being made. ``on_damage``: what to do with a damaged
    sample; ``damage_limit``: the share of the samples read that may be left out. ``transform``
    makes a sample into what ``collate`` takes a batch of; both run in the threads. ``allocate``:
    where a batch's memory comes from (pinned, for a GPU).
    """

    threads: int = 2
    read_ahead: int = 4
    on_damage: OnDamage = "raise"
    damage_limit: float = 0.01
    transform: Callable[[Sample], Any] | None = None
    collate: Callable[[Sequence[Any]], Any] | None = None
    allocate: Allocate = plain


PLAIN = Reading()


@dataclass(frozen=True, slots=True)
class Batch:
    """One rank's share of a global batch.

    ``samples``: shape [local, window + 1] of a token set, else a list, or what ``collate`` returns;
    ``indices`` [local] are their numbers in the data set. ``consumed_after`` counts the samples of
    all ranks up to and with this batch. ``global_batch`` is the number of samples of all ranks in
    it. ``damaged``: what was left out of this share; ``indices`` is without it.
    """

    samples: Any
    indices: Indices
    consumed_after: int
    global_batch: int
    damaged: tuple[Damage, ...] = field(default=())


class _Share(NamedTuple):
    indices: Indices
    consumed_after: int
    global_batch: int


class _Task(NamedTuple):
    share: _Share
    places: Places


class Batches(Iterator[Batch]):
    """An iterator over batches that knows where it is. Close it, or use it in a ``with``.

    One consumer at a time. The threads start with the first batch asked for. A batch's memory is
    used again only when nobody holds the batch, or anything made of its memory, any more.
    """

    def __init__(
        self,
        dataset: Source,
        shares: Iterator[_Share],
        *,
        seed: int,
        consumed: int,
        reading: Reading = PLAIN,
    ) -> None:
        self._dataset = dataset
        self._seed = seed
        self._consumed = consumed
        self.quarantine = Quarantine(most=reading.damage_limit)
        self._reader = Reader(
            _tasks(dataset, shares),
            _Work(dataset, reading),
            threads=reading.threads,
            ahead=max(reading.read_ahead, reading.threads),
        )
        self._stop = weakref.finalize(self, self._reader.stop)

    def __next__(self) -> Batch:
        batch = self._reader.take()
        self._consumed = batch.consumed_after
        self.quarantine.count(len(batch.indices) + len(batch.damaged), batch.damaged)
        return batch

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def consumed(self) -> int:
        """Samples of all ranks in the batches given out so far; what was read ahead is not."""
        return self._consumed

    @property
    def cursor(self) -> Cursor:
        return cursor_at(self._seed, self._consumed, len(self._dataset))

    def state(self) -> State:
        """Where this stream is, as JSON: give it to ``resume``."""
        return {
            "seed": self._seed,
            "epoch": self.cursor.epoch,
            "consumed": self._consumed,
            "length": len(self._dataset),
            "fingerprint": self._dataset.fingerprint,
        }

    def close(self) -> None:
        """Stop the threads and wait for them. Reads in progress are finished first."""
        self._stop()


def batches(
    dataset: Source,
    *,
    global_batch: int,
    seed: int,
    rank: int = 0,
    world: int = 1,
    start: int = 0,
    reading: Reading = PLAIN,
) -> Batches:
    """The endless, shuffled stream of this rank, after ``start`` samples of all ranks.

    Raise ``BatchesRefused`` when there is nothing to draw or a number makes no sense.
    """
    _check(dataset, global_batch, rank, world, start)
    return Batches(
        dataset,
        _stream(len(dataset), global_batch, seed, rank, world, start),
        seed=seed,
        consumed=start,
        reading=reading,
    )


def resume(
    dataset: Source,
    state: Mapping[str, object],
    *,
    global_batch: int,
    seed: int,
    rank: int = 0,
    world: int = 1,
    reading: Reading = PLAIN,
) -> Batches:
    """Go on where ``state`` says, at any world size and global batch.

    Raise ``StateMismatch`` when it belongs to another data set or seed.
    """
    given = {"fingerprint": dataset.fingerprint, "length": len(dataset), "seed": seed}
    for field_name, value in given.items():
        if state.get(field_name) != value:
            raise StateMismatch(field_name, saved=state.get(field_name), given=value)
    consumed = state.get("consumed")
    if not isinstance(consumed, int) or consumed < 0:
        raise StateMismatch("consumed", saved=consumed, given="a count of samples")
    return batches(
        dataset,
        global_batch=global_batch,
        seed=seed,
        rank=rank,
        world=world,
        start=consumed,
        reading=reading,
    )


def cover(
    dataset: Source,
    *,
    batch: int,
    rank: int = 0,
    world: int = 1,
    reading: Reading = PLAIN,
) -> Batches:
    """Each sample exactly once over all ranks, in order, ``batch`` samples of all ranks at a time.

    Every rank gets the same number of batches, so collectives stay in step; the last ones may be
    unequal or empty. Weigh results by the number of samples.
    """
    _check(dataset, batch, rank, world, 0)
    shares = _cover(len(dataset), batch, rank, world)
    return Batches(dataset, shares, seed=0, consumed=0, reading=reading)


def _stream(
    length: int, global_batch: int, seed: int, rank: int, world: int, consumed: int
) -> Iterator[_Share]:
    start, stop = rank_slice(global_batch, rank, world)
    at_once = max(1, _POSITIONS_AT_ONCE // global_batch)
    while True:
        firsts = consumed + global_batch * np.arange(at_once, dtype=np.int64)
        positions = firsts[:, None] + batch_positions(start, stop - start)
        for indices in samples_at(seed, positions, length):
            consumed += global_batch
            yield _Share(indices, consumed, global_batch)


def _cover(length: int, batch: int, rank: int, world: int) -> Iterator[_Share]:
    for first in range(0, length, batch):
        size = min(batch, length - first)
        start, stop = rank_slice(size, rank, world)
        yield _Share(batch_positions(first, size)[start:stop], first + size, size)


def _tasks(dataset: Source, shares: Iterator[_Share]) -> Iterator[_Task]:
    """Shares with the places of their samples, looked up for many shares at once."""
    waiting: list[_Share] = []
    positions = 0
    for share in shares:
        waiting.append(share)
        positions += max(1, len(share.indices))
        if positions >= _POSITIONS_AT_ONCE:
            yield from _placed(dataset, waiting)
            waiting, positions = [], 0
    yield from _placed(dataset, waiting)


def _placed(dataset: Source, shares: list[_Share]) -> Iterator[_Task]:
    if not shares:
        return
    try:
        places = dataset.find(np.concatenate([share.indices for share in shares]))
    except HeadraceError:  # raised again where the batch would have come out
        yield from (_Task(share, dataset.find(share.indices)) for share in shares)
        return
    start = 0
    for share in shares:
        stop = start + len(share.indices)
        yield _Task(share, places.cut(start, stop))
        start = stop


class _Work:
    """What a thread does with a task."""

    def __init__(self, dataset: Source, reading: Reading) -> None:
        self._dataset = dataset
        self._reading = reading
        most = max(reading.read_ahead, reading.threads) + 2
        self._buffers = Buffers(most=most, allocate=reading.allocate)

    def __call__(self, task: _Task) -> Batch:
        share, reading = task.share, self._reading
        samples, damaged, good = self._dataset.fill(task.places, self._buffers)
        indices = share.indices
        if damaged:
            if reading.on_damage == "raise":
                raise damaged[0].error()
            indices = indices[good]
        if reading.transform is not None:
            samples = [reading.transform(sample) for sample in samples]
        if reading.collate is not None:
            samples = reading.collate(samples)
        return Batch(samples, indices, share.consumed_after, share.global_batch, damaged)


def _check(dataset: Source, batch: int, rank: int, world: int, start: int) -> None:
    rules = {
        f"a batch of {batch} samples": batch >= 1,
        f"rank {rank} of {world}": 0 <= rank < world,
        f"a start after {start} samples": start >= 0,
        f"a data set of {len(dataset)} samples": len(dataset) >= 1,
    }
    wrong = next((what for what, holds in rules.items() if not holds), None)
    if wrong is not None:
        raise BatchesRefused(
            f"no batches can be drawn with {wrong}",
            why="batch and data set need at least 1 sample, start is 0 or more, "
            "and 0 <= rank < world",
            remedy="correct that number; a split may have left the data set empty",
        )
