"""Data parallelism: every rank holds the whole model, gradients are averaged (DDP).

DDP sorts its gradient buckets anew after the first backward of a process, and with three ranks or
more the place of a value in its bucket decides the order in which the ranks' parts are added. So
the buckets are warmed here, before the first step of every attempt: a backward in the order of
registration, on zeros, which touches neither buffers nor random numbers. A resumed run then adds
in the same order as one that was never stopped.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from headrace.train.group import Group


def replicate(model: nn.Module, group: Group, *, unused_parameters: bool) -> nn.Module:
    """The model on this rank's device, its gradients averaged over the ranks.

    A world of one and a model without trainable parameters (a teacher) need no wrapper.
    """
    model = model.to(group.device)
    if group.world_size == 1 or not any(p.requires_grad for p in model.parameters()):
        return model
    parallel = DistributedDataParallel(
        model,
        device_ids=[group.device] if group.device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        find_unused_parameters=unused_parameters,
    )
    _warm_buckets(parallel)
    return parallel


def without_sync(model: nn.Module, *, unless: bool) -> AbstractContextManager[None]:
    """Keep gradients local for a micro-batch, unless it is the last of its step."""
    if unless or not isinstance(model, DistributedDataParallel):
        return nullcontext()
    return model.no_sync()


class _Rehearsal(nn.Module):
    """Stands in for the model: its backward makes gradients ready in reverse registration order."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        super().__init__()
        self._held = tuple(parameters)

    def forward(self) -> torch.Tensor:
        return torch.stack([(parameter * 0).sum().float() for parameter in self._held]).sum()


def _warm_buckets(parallel: DistributedDataParallel) -> None:
    model = parallel.module
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    parallel.module = _Rehearsal(trained)
    try:
        parallel().backward()
    finally:
        parallel.module = model
    for parameter in trained:
        parameter.grad = None
