"""Batches of one rank, read ahead by threads.

``batches`` is the endless stream of training; ``cover`` gives each sample exactly once, for
evaluation. Order is decided in ``headrace.data.order``, and looked up for thousands of samples at
once; turning arrays into tensors is the trainer's.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Unpack

import numpy as np

from headrace.core.errors import HeadraceError
from headrace.core.records import replace
from headrace.data.ask import Asking, ask, need, whole
from headrace.data.buffers import Allocate, Buffers, keep_freed_memory, plain
from headrace.data.damage import Damage, OnDamage, Quarantine
from headrace.data.dataset import Source
from headrace.data.fill import Found
from headrace.data.foresight import Foresight
from headrace.data.formats.format import Sample
from headrace.data.order import Indices, Sequential, rank_slice
from headrace.data.plan import State, decode_state, planned, positions_of, samples_at
from headrace.data.reader import WAIT_S, Reader

_POSITIONS_AT_FIRST = 64  # then twice as many each time: the first batch is not kept waiting
_POSITIONS_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How batches are read; none of it changes which samples come, nor their order.

    ``threads``: that read, verify, decode and transform (0: whoever asks for the batch does).
    ``read_ahead``: batches that wait or are being made. ``on_damage``: what to do with a damaged
    sample; ``damage_limit``: the share of the samples read that may be left out. ``transform``
    makes a sample into what ``collate`` takes a batch of, at least one; both run in the threads.
    ``allocate``: where a batch's memory comes from (pinned, for a GPU).
    """

    threads: int = 2
    read_ahead: int = 4
    on_damage: OnDamage = "raise"
    damage_limit: float = 0.01
    transform: Callable[[Sample], Any] | None = None
    collate: Callable[[Sequence[Any]], Any] | None = None
    allocate: Allocate = plain

    def finish(self, samples: Any) -> Any:  # noqa: ANN401 - by format
        """Samples of a batch, at least one, as the loop takes them."""
        if self.transform is not None:
            samples = [self.transform(sample) for sample in samples]
        return samples if self.collate is None else self.collate(samples)


PLAIN = Reading()


@dataclass(frozen=True, slots=True)
class Batch:
    """One rank's share of a global batch.

    ``samples``: shape [local, *sample_shape] of a token set, else a list, or what ``collate``
    returns. ``indices`` [local] are their numbers in the data set. ``consumed_after`` counts the
    samples of all ranks up to and with this batch. ``global_batch`` is the number of samples of all
    ranks in it. ``damaged``: what was left out of this share; ``indices`` is without it.
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
    places: Found


class Batches(Iterator[Batch]):
    """An iterator over batches that knows where it is. Close it, or use it in a ``with``.

    One consumer at a time. The threads start with the first batch asked for. A batch's memory is
    used again only when nobody holds the batch, or anything made of its memory, any more.
    """

    def __init__(
        self, dataset: Source, state: State, *, rank: int, world: int, reading: Reading = PLAIN
    ) -> None:
        rank, world = whole("rank", rank), whole("world", world)
        need(0 <= rank < world, f"rank {rank} of {world}")
        keep_freed_memory()
        self._state = state
        self.quarantine = Quarantine(most=reading.damage_limit)
        self._reader = Reader(
            _tasks(dataset, _shares(state, rank, world), Foresight(dataset, state.plan)),
            _Work(dataset, reading),
            threads=reading.threads,
            ahead=max(reading.read_ahead, reading.threads),
        )
        self._stop = weakref.finalize(self, self._reader.stop)

    def __next__(self) -> Batch:
        batch = self._reader.take()
        self._state = replace(self._state, step=self._state.step + 1, consumed=batch.consumed_after)
        self.quarantine.count(len(batch.indices) + len(batch.damaged), batch.damaged)
        return batch

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def consumed(self) -> int:
        """Samples of all ranks in the batches given out so far; what was read ahead is not."""
        return self._state.consumed

    @property
    def state(self) -> State:
        """Where this stream is: give it, or its JSON, to ``resume``."""
        return self._state

    def close(self) -> None:
        """Stop the threads and wait for them: reads in progress are finished first, but one that
        takes longer than a few seconds is left to itself."""
        self._stop()
        self._reader.wait(WAIT_S)


def batches(
    dataset: Source,
    *,
    rank: int = 0,
    world: int = 1,
    reading: Reading = PLAIN,
    **asking: Unpack[Asking],
) -> Batches:
    """The shuffled stream of this rank; endless unless ``epochs`` is given.

    ``global_batch`` and ``weights`` may change in mid-run: see ``headrace.data.ask``. Raise
    ``BatchesRefused`` when there is nothing to draw or a number makes no sense.
    """
    state = planned(ask(dataset, **asking))
    return Batches(dataset, state, rank=rank, world=world, reading=reading)


def resume(
    dataset: Source,
    state: object,
    *,
    rank: int = 0,
    world: int = 1,
    reading: Reading = PLAIN,
    **asking: Unpack[Asking],
) -> Batches:
    """Go on where ``state``, or its JSON, says, at any world size. From there on what is asked
    here holds: another batch, other weights, more sources at the end of a mix.

    Raise ``StateMismatch`` when it belongs to another data set, seed or order, ``BatchesRefused``
    when ``epochs`` end before it.
    """
    done = state if isinstance(state, State) else decode_state(state)
    state = planned(ask(dataset, **asking), done)
    return Batches(dataset, state, rank=rank, world=world, reading=reading)


def cover(
    dataset: Source, *, batch: int, rank: int = 0, world: int = 1, reading: Reading = PLAIN
) -> Batches:
    """Each sample exactly once over all ranks, in order, ``batch`` samples of all ranks at a time.

    Every rank gets the same number of batches, so collectives stay in step; the last ones may be
    unequal or empty. Weigh results by the number of samples.
    """
    asked = ask(dataset, global_batch=batch, seed=0, order=Sequential(), epochs=1)
    return Batches(dataset, planned(asked), rank=rank, world=world, reading=reading)


def _shares(state: State, rank: int, world: int) -> Iterator[_Share]:
    """Those of one rank from ``state`` on, looked up for many steps at once."""
    step, at_once = state.step, _POSITIONS_AT_FIRST
    while True:
        spans: list[tuple[Indices, int, int]] = []
        positions = 0
        while max(positions, len(spans)) < at_once:
            first, stop = positions_of(state.plan, step)
            if first == stop:
                break
            start, end = rank_slice(stop - first, rank, world)
            spans.append((np.arange(first + start, first + end), stop, stop - first))
            positions += end - start
            step += 1
        if not spans:
            return
        at_once = min(2 * at_once, _POSITIONS_AT_ONCE)
        found = samples_at(state.plan, np.concatenate([span for span, _, _ in spans]))
        begin = 0
        for span, consumed_after, global_batch in spans:
            yield _Share(found[begin : begin + len(span)], consumed_after, global_batch)
            begin += len(span)


def _tasks(dataset: Source, shares: Iterator[_Share], foresight: Foresight) -> Iterator[_Task]:
    """Shares with the places of their samples, looked up for many shares at once."""
    waiting: list[_Share] = []
    positions, at_once = 0, _POSITIONS_AT_FIRST
    for share in shares:
        waiting.append(share)
        positions += max(1, len(share.indices))
        if positions >= at_once:
            at_once = min(2 * at_once, _POSITIONS_AT_ONCE)
            foresight.tell(waiting[0].consumed_after)
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
        samples = reading.finish(samples) if len(indices) else samples
        return Batch(samples, indices, share.consumed_after, share.global_batch, damaged)
