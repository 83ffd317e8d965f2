"""Evaluation: every sample of a data set exactly once, means weighted by count over all ranks.

All ranks take the same number of batches, so that collectives inside the model match and a stop is
agreed on within the loop; where a rank has none left it gets a stand-in of weight zero. Gradients
and ``model.eval()`` are the script's business.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing

import torch
import torch.distributed as dist

from headrace.train.group import Group
from headrace.train.step import Count, Micro


class Evaluation:
    """Iterate over it once; ``add`` in the loop, read ``mean`` after it.

    ``complete`` is False when a stop ended the loop early; ``mean`` is then over what was seen.
    """

    def __init__(
        self, micros: Generator[Micro, None, None], *, group: Group, stopping: Callable[[], bool]
    ) -> None:
        self.mean: dict[str, float] = {}
        self.complete = False
        self._micros = micros
        self._group = group
        self._stopping = stopping
        self._weight = 0.0
        self._sums: dict[str, torch.Tensor] = {}

    def __iter__(self) -> Iterator[Micro]:
        with closing(self._micros):
            for number, micro in enumerate(self._micros):
                if self._stopping() and number > 0:
                    break
                self._weight = micro.weight
                yield micro
            else:
                self.complete = True
        self._reduce()

    def add(self, **pairs: tuple[torch.Tensor, Count]) -> None:
        """``add(loss=(sum, count))``: this batch's part of each mean. Waits for no device."""
        for name, (total, count) in pairs.items():
            if name not in self._sums:
                self._sums[name] = torch.zeros(2, dtype=torch.float64, device=total.device)
            if self._weight:
                self._sums[name][0] += total.detach()
                self._sums[name][1] += count

    def _reduce(self) -> None:
        for name, pair in self._sums.items():
            if pair.is_cuda and self._group.world_size > 1:
                dist.all_reduce(pair)
            elif not pair.is_cuda:
                pair = torch.tensor(self._group.sum(pair.tolist()), dtype=torch.float64)
            self.mean[name] = float(pair[0] / pair[1])
