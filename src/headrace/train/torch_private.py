"""The only use of what torch does not document."""

import sys
from collections.abc import Collection, Iterable, Sequence

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel


def scale_in_place(tensors: Sequence[torch.Tensor], factor: float | torch.Tensor) -> None:
    """Multiply all by ``factor``, a number or a 0-dim tensor, with few kernels; of a ``DTensor``
    this rank's part, as the other ranks do theirs."""
    parts = [one.to_local() if isinstance(one, DTensor) else one for one in tensors]
    if parts:
        torch._foreach_mul_(parts, factor)


def is_held_by_torch(tensors: Collection[torch.Tensor]) -> bool:
    """Whether C++ still holds one of ``tensors``, which Python holds nowhere else: it then holds
    the Python object as well."""
    ours = 3  # the collection, the variable, and the argument of getrefcount
    return any(sys.getrefcount(tensor) > ours for tensor in tensors)


class _Rehearsal(nn.Module):
    """Stands in for a model: the backward of its zero makes all gradients ready."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        super().__init__()
        self._held = tuple(parameters)

    def forward(self) -> torch.Tensor:
        return torch.stack([(parameter * 0).sum().float() for parameter in self._held]).sum()


def warm_buckets(parallel: DistributedDataParallel) -> None:
    """Have DDP's reducer sort its buckets by a backward of zeros, not by the first real one.

    Autograd runs it in reverse order of registration, as most models' backward goes. No code of the
    model runs, so buffers, hooks and random numbers are as before; gradients are None afterwards.
    The reducer knows the parameters by itself and calls ``module`` only for the forward.
    """
    model = parallel.module
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    parallel.module = _Rehearsal(trained)
    parallel.require_forward_param_sync = False  # the stand-in has no buffers to broadcast
    try:
        parallel().backward()
    finally:
        parallel.module = model
    for parameter in trained:
        parameter.grad = None
