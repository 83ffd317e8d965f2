"""Which part of each tracked tensor this rank holds: those of FSDP2 and other ``DTensor`` models.

A checkpoint holds whole tensors. What is read of one is the box that this rank holds of the tensor
it goes into; optimizer state of a parameter's shape is laid out as the parameter is.
"""

from collections.abc import Mapping

import torch
from torch.distributed.tensor import DTensor

from headrace.checkpoint.box import Box, whole
from headrace.checkpoint.share import local_part


class Layout:
    """``tensors``: those of the models, by their names in a checkpoint. ``optimizers``: names."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], optimizers: frozenset[str]) -> None:
        self._split = {name: one for name, one in tensors.items() if isinstance(one, DTensor)}
        self._optimizers = optimizers

    def wanted(self, name: str, shape: tuple[int, ...]) -> Box | None:
        """The box that this rank needs of a tensor in a checkpoint; None for all of it."""
        like = self._like(name)
        if like is None or tuple(like.shape) != shape:
            return None
        return local_part(like, name)[0]

    def place(self, name: str, local: torch.Tensor) -> torch.Tensor:
        """A box that was loaded, on this rank's device, as part of the whole."""
        like = self._like(name)
        assert like is not None, "only boxes of tensors that are split are loaded"
        return DTensor.from_local(
            local.to(like.to_local().device),
            like.device_mesh,
            like.placements,
            run_check=False,
            shape=like.shape,
            stride=like.stride(),
        )

    def _like(self, name: str) -> DTensor | None:
        if name in self._split:
            return self._split[name]
        optimizer, _, rest = name.partition("/")
        while optimizer in self._optimizers and rest:
            if rest in self._split:
                return self._split[rest]
            rest = rest.rpartition("/")[0]
        return None


def fill(current: DTensor, value: torch.Tensor, *, is_box: bool) -> None:
    """Copy into this rank's part of ``current``, in place. ``value``: the part, or the whole."""
    box, local = local_part(current, "")
    with torch.no_grad():
        local.copy_(value if is_box else value[box.inside(whole(value.shape))])
