"""Models split over ranks with FSDP2, as the job file's layout says: ``{dp: 2, fsdp: 4}``.

Each module of a ``ModuleList`` (the blocks of a decoder) is gathered, used and let go by itself,
the rest of the model together.
"""

from typing import NamedTuple

from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from headrace.train.data_parallel import replicate
from headrace.train.group import Group


class Degrees(NamedTuple):
    """``replicas`` of the model, each split over ``parts`` ranks."""

    replicas: int
    parts: int


def spread(model: nn.Module, group: Group, degrees: Degrees, *, unused: bool) -> nn.Module:
    """The model as it is to be trained. One that the script has split stays as it is."""
    if isinstance(model, FSDPModule):
        return model
    if degrees.parts == 1:
        return replicate(model, group, unused_parameters=unused)
    shape = (degrees.replicas, degrees.parts) if degrees.replicas > 1 else (degrees.parts,)
    names = ("dp", "fsdp")[-len(shape) :]
    mesh = init_device_mesh(group.device.type, shape, mesh_dim_names=names)
    for blocks in model.modules():
        for block in blocks if isinstance(blocks, nn.ModuleList) else ():
            fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model
