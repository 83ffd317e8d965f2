"""The only use of names that torch does not document."""

from collections.abc import Sequence

import torch


def scale_in_place(tensors: Sequence[torch.Tensor], factor: float | torch.Tensor) -> None:
    """Multiply all by ``factor``, a number or a 0-dim tensor, with few kernels."""
    if tensors:
        torch._foreach_mul_(list(tensors), factor)
