"""From a data set to micro-batches on this rank's device.

Which samples a step takes is decided in ``headrace.data``; here they are cut into micro-batches and
moved. A rank without a share of a step (three ranks, two samples; or all of it damaged and left
out) gets one stand-in sample of weight zero.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast

import numpy as np
import torch

from headrace import data
from headrace.core.events import Noted
from headrace.data.buffers import Buffers
from headrace.train.device import Mover, pinned, samples_in, split
from headrace.train.group import Group
from headrace.train.step import Micro
from headrace.train.until import Until, steps_of

_TRIED = 1000  # samples, for a stand-in


class Batches:
    """What ``run.batches`` returns: read when ``run.steps`` knows where to start.

    ``micro_batch``: samples per forward; None takes a rank's whole share at once.
    """

    def __init__(
        self,
        *,
        dataset: data.Source,
        asked: data.Asked,
        micro_batch: int | None,
        group: Group,
        reading: data.Reading,
    ) -> None:
        self.dataset = dataset
        self.asked = asked
        self.micro_batch = micro_batch
        self._micros = _Micros(dataset, group, reading)

    @property
    def global_batch(self) -> int:
        """Samples of the first step over all ranks."""
        return self.asked.sizes[0][1]

    def steps(self, until: Until | None, done: data.State | None) -> int:
        """Of the whole run: to ``until``, or to the end of the data where that comes before."""
        plan = data.planned(self.asked, done).plan
        ends = [] if until is None else [steps_of(until, plan, window=self._window(until))]
        whole = data.total_steps(plan)
        return min(ends if whole is None else [*ends, whole])

    def read(self, done: data.State | None) -> data.Batches:
        """From the start, or after ``done``. Raise ``StateMismatch``."""
        state, micros = data.planned(self.asked, done), self._micros
        group = micros.group
        return data.Batches(
            self.dataset, state, rank=group.rank, world=group.world_size, reading=micros.reading
        )

    def micros(self, batch: data.Batch) -> list[Micro]:
        """At least one."""
        return self._micros(batch, self.micro_batch)

    def _window(self, until: Until) -> int:
        if until.unit == "token" or self.dataset.is_tokens:
            return cast(data.TokenDataset, self.dataset).window
        return 1


def evaluation_micros(
    dataset: data.Source,
    *,
    batch: int,
    group: Group,
    reading: data.Reading,
    note: Callable[[data.Batch], None],
) -> Iterator[Micro]:
    """All samples once over all ranks, ``batch`` at a time on each; as many rounds on each rank.

    ``note`` is told of each share, for what was damaged in it.
    """
    micros = _Micros(dataset, group, reading)
    with data.cover(
        dataset,
        batch=batch * group.world_size,
        rank=group.rank,
        world=group.world_size,
        reading=micros.reading,
    ) as shares:
        for share in shares:
            note(share)
            yield from micros(share, None)


def damage_note(batch: data.Batch, *, rank: int, step: int) -> Noted:
    """What was left out of a batch, in words."""
    first = batch.damaged[0]
    return Noted(
        level="warning",
        text=f"rank {rank} left {len(batch.damaged)} damaged of "
        f"{len(batch.damaged) + len(batch.indices)} samples out of a batch after step {step}: "
        f"sample {first.index}, {first.path} bytes {first.start} to {first.stop}: {first.why}",
    )


class _Micros:
    """A share of a batch as micro-batches on the device."""

    def __init__(self, dataset: data.Source, group: Group, reading: data.Reading) -> None:
        self.group = group
        self._dataset = dataset
        self._move = Mover(group.device)
        self._tokens = dataset.is_tokens and reading.transform is None and reading.collate is None
        if reading.collate is None and not self._tokens:
            reading = replace(reading, collate=data.stack)
        if group.device.type == "cuda":
            reading = replace(reading, allocate=pinned)
        self.reading = reading

    def __call__(self, batch: data.Batch, size: int | None) -> list[Micro]:
        if len(batch.indices) == 0:
            return [self._stand_in()]
        moved = self._move(batch.samples, tokens=self._tokens)
        return [Micro(part) for part in split(moved, size or samples_in(moved))]

    def _stand_in(self) -> Micro:
        """Of a token set, token 0, which every vocabulary has; else the first sample that is not
        damaged."""
        if self._dataset.is_tokens:
            shape = cast(data.TokenDataset, self._dataset).sample_shape
            samples: object = np.zeros((1, *shape), np.uint16)
        else:
            samples = self._first_good()
        finished = self.reading.finish(samples)
        return Micro(self._move(finished, tokens=self._tokens), weight=0.0)

    def _first_good(self) -> object:
        found: data.Damage | None = None
        for number in range(min(len(self._dataset), _TRIED)):
            place = self._dataset.find(np.array([number], np.int64))
            filled = self._dataset.fill(place, Buffers(most=0))
            if not filled.damaged:
                return filled.samples
            found = found or filled.damaged[0]
        assert found is not None
        raise found.error()


def to_device(samples: data.Tokens, device: torch.device) -> torch.Tensor:
    """Tokens as int64, as embeddings and losses want them."""
    moved: torch.Tensor = Mover(device)(samples, tokens=True)
    return moved
