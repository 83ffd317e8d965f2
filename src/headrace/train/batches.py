"""From a data set to micro-batches on this rank's device.

Which samples a step takes is decided in ``headrace.data``; here they are cut into micro-batches and
moved. A rank without a share of a step (three ranks, two samples) gets one stand-in sample of
weight zero.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from headrace import data
from headrace.data.dataset import Tokens
from headrace.train.group import Group
from headrace.train.step import Micro
from headrace.train.until import Until, steps_of


@dataclass(frozen=True, kw_only=True)
class Batches:
    """What ``run.batches`` returns: read when ``run.steps`` knows where to start.

    ``micro_batch``: samples per forward; None takes a rank's whole share at once.
    """

    dataset: data.TokenDataset
    asked: data.Asked
    micro_batch: int | None
    group: Group

    @property
    def global_batch(self) -> int:
        """Samples of the first step over all ranks."""
        return self.asked.sizes[0][1]

    def steps(self, until: Until | None, done: data.State | None) -> int:
        """Of the whole run: to ``until``, or to the end of the data where that comes before."""
        plan = data.planned(self.asked, done).plan
        ends = [] if until is None else [steps_of(until, plan, window=self.dataset.window)]
        whole = data.total_steps(plan)
        return min(ends if whole is None else [*ends, whole])

    def read(self, done: data.State | None) -> data.Batches:
        """From the start, or after ``done``. Raise ``StateMismatch``."""
        state = data.planned(self.asked, done)
        return data.Batches(self.dataset, state, rank=self.group.rank, world=self.group.world_size)

    def micros(self, samples: Tokens) -> list[Micro]:
        """At least one."""
        if len(samples) == 0:
            return [stand_in(self.dataset, self.group.device)]
        size = self.micro_batch or len(samples)
        on_device = to_device(samples, self.group.device)
        return [Micro(part) for part in torch.split(on_device, size)]


def evaluation_micros(dataset: data.TokenDataset, *, batch: int, group: Group) -> Iterator[Micro]:
    """All samples once over all ranks, ``batch`` at a time on each; as many rounds on each rank."""
    with data.cover(
        dataset, batch=batch * group.world_size, rank=group.rank, world=group.world_size
    ) as shares:
        for share in shares:
            if len(share.samples) == 0:
                yield stand_in(dataset, group.device)
            else:
                yield Micro(to_device(share.samples, group.device))


def stand_in(dataset: data.TokenDataset, device: torch.device) -> Micro:
    return Micro(to_device(dataset.read(np.zeros(1, dtype=np.int64)), device), weight=0.0)


def to_device(samples: Tokens, device: torch.device) -> torch.Tensor:
    """int64, as embeddings and losses want it. Does not wait for the copy to a GPU."""
    host = torch.from_numpy(samples.astype(np.int64))
    if device.type == "cuda":
        return host.pin_memory().to(device, non_blocking=True)
    return host
