"""Batches of one rank, read ahead by one thread.

``batches`` is the endless stream of training; ``cover`` gives each sample exactly once, for
evaluation. Order is decided in ``headrace.data.order``; turning arrays into tensors is the
trainer's. What the read-ahead thread meets (``DamagedData``) is raised where the batch would have
come out; the batches before it still arrive.
"""

import threading
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from headrace.data.dataset import TokenDataset, Tokens
from headrace.data.errors import BatchesRefused, StateMismatch
from headrace.data.order import (
    Cursor,
    Indices,
    batch_positions,
    cursor_at,
    rank_slice,
    samples_at,
)

READ_AHEAD = 2
State = dict[str, int | str]


@dataclass(frozen=True)
class Batch:
    """One rank's share of a global batch.

    ``samples`` has shape [local, window + 1]; ``indices`` [local] are their numbers in the data
    set. ``consumed_after`` counts the samples of all ranks up to and with this batch.
    ``global_batch`` is the number of samples of all ranks in it.
    """

    samples: Tokens
    indices: Indices
    consumed_after: int
    global_batch: int


class _Share(NamedTuple):
    indices: Indices
    consumed_after: int
    global_batch: int


class Batches(Iterator[Batch]):
    """An iterator over batches that knows where it is. Close it, or use it in a ``with``.

    One consumer at a time. The thread starts with the first batch asked for.
    """

    def __init__(
        self,
        dataset: TokenDataset,
        shares: Iterator[_Share],
        *,
        seed: int,
        consumed: int,
        read_ahead: int,
    ) -> None:
        self._dataset = dataset
        self._seed = seed
        self._consumed = consumed
        self._reader = _Reader(dataset, shares, read_ahead)
        self._stop = weakref.finalize(self, self._reader.stop)

    def __next__(self) -> Batch:
        batch = self._reader.take()
        self._consumed = batch.consumed_after
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
        """Stop the thread and wait for it. A read in progress is finished first."""
        self._stop()


def batches(
    dataset: TokenDataset,
    *,
    global_batch: int,
    seed: int,
    rank: int = 0,
    world: int = 1,
    start: int = 0,
    read_ahead: int = READ_AHEAD,
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
        read_ahead=read_ahead,
    )


def resume(
    dataset: TokenDataset,
    state: Mapping[str, object],
    *,
    global_batch: int,
    seed: int,
    rank: int = 0,
    world: int = 1,
    read_ahead: int = READ_AHEAD,
) -> Batches:
    """Go on where ``state`` says, at any world size and global batch.

    Raise ``StateMismatch`` when it belongs to another data set or seed.
    """
    given = {"fingerprint": dataset.fingerprint, "length": len(dataset), "seed": seed}
    for field, value in given.items():
        if state.get(field) != value:
            raise StateMismatch(field, saved=state.get(field), given=value)
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
        read_ahead=read_ahead,
    )


def cover(
    dataset: TokenDataset,
    *,
    batch: int,
    rank: int = 0,
    world: int = 1,
    read_ahead: int = READ_AHEAD,
) -> Batches:
    """Each sample exactly once over all ranks, in order, ``batch`` samples of all ranks at a time.

    Every rank gets the same number of batches, so collectives stay in step; the last ones may be
    unequal or empty. Weigh results by the number of samples.
    """
    _check(dataset, batch, rank, world, 0)
    shares = _cover(len(dataset), batch, rank, world)
    return Batches(dataset, shares, seed=0, consumed=0, read_ahead=read_ahead)


def _stream(
    length: int, global_batch: int, seed: int, rank: int, world: int, consumed: int
) -> Iterator[_Share]:
    start, stop = rank_slice(global_batch, rank, world)
    while True:
        positions = batch_positions(consumed, global_batch)[start:stop]
        consumed += global_batch
        yield _Share(samples_at(seed, positions, length), consumed, global_batch)


def _cover(length: int, batch: int, rank: int, world: int) -> Iterator[_Share]:
    for first in range(0, length, batch):
        size = min(batch, length - first)
        start, stop = rank_slice(size, rank, world)
        yield _Share(batch_positions(first, size)[start:stop], first + size, size)


class _Reader:
    """Fills a bounded queue from a thread. Knows nothing of ``Batches``, so that an iterator that
    nobody holds any more stops its thread."""

    def __init__(self, dataset: TokenDataset, shares: Iterator[_Share], read_ahead: int) -> None:
        self._dataset = dataset
        self._shares = shares
        self._room = max(1, read_ahead)
        self._ready: deque[Batch] = deque()
        self._ended: BaseException | None = None
        self._stopped = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def take(self) -> Batch:
        with self._changed:
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name="data-read", daemon=True)
                self._thread.start()
            self._changed.wait_for(lambda: self._ready or self._ended or self._stopped)
            if self._ready and not self._stopped:
                batch = self._ready.popleft()
                self._changed.notify_all()
                return batch
            raise self._ended or StopIteration

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._ready.clear()
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            for share in self._shares:
                samples = self._dataset.read(share.indices)
                if not self._put(Batch(samples, *share)):
                    return
            self._end(StopIteration())
        except BaseException as error:  # belongs to the consumer, who raises it
            self._end(error)

    def _put(self, batch: Batch) -> bool:
        """False when the consumer has gone."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or len(self._ready) < self._room)
            self._ready.append(batch)
            self._changed.notify_all()
            return not self._stopped

    def _end(self, reason: BaseException) -> None:
        with self._changed:
            self._ended = reason
            self._changed.notify_all()


def _check(dataset: TokenDataset, batch: int, rank: int, world: int, start: int) -> None:
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
