"""Data parallelism: every rank holds the whole model, gradients are averaged (DDP).

DDP sorts its gradient buckets anew after the first backward of a process, and with three ranks or
more the place of a value in its bucket decides the order in which the ranks' parts are added. So
the buckets are warmed here, before the first step of every attempt. A resumed run then adds in the
same order as one that was never stopped.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from headrace.train.group import Group
from headrace.train.torch_private import warm_buckets


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
    warm_buckets(parallel)
    return parallel


def clip(parameters: Sequence[nn.Parameter], max_norm: float) -> torch.Tensor:
    """Scale gradients so that their norm over all ranks is at most ``max_norm``; return what it
    was."""
    norm = nn.utils.clip_grad_norm_(parameters, max_norm)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def without_sync(model: nn.Module, *, unless: bool) -> AbstractContextManager[None]:
    """Keep gradients local for a micro-batch, unless it is the last of its step."""
    if unless or not isinstance(model, DistributedDataParallel):
        return nullcontext()
    return model.no_sync()
