"""What of a snapshot this rank stores: of every box of a tensor exactly one rank stores it.

A ``DTensor`` is stored as the boxes that the ranks hold. Ranks that hold the same box (replicas)
take turns, the widest tensors first, so that each stores about as much. A plain tensor is rank 0's,
unless the snapshot says that it is the same on all ranks: then they take turns likewise. Every rank
finds its share alone: all make the same choice from names, shapes and the device mesh.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch.distributed.tensor import DTensor

from headrace.checkpoint.box import Box, label, whole
from headrace.checkpoint.dtypes import dtype_name
from headrace.checkpoint.errors import NotSaveable


class Ranks(Protocol):
    """The ranks that write one checkpoint together."""

    @property
    def rank(self) -> int: ...

    @property
    def world_size(self) -> int: ...

    def sum(self, values: Sequence[float], /) -> list[float]:
        """Each value summed over the ranks. Waits for all of them."""
        ...


@dataclass(frozen=True)
class Alone:
    """A world of one rank."""

    rank: int = 0
    world_size: int = 1

    def sum(self, values: Sequence[float], /) -> list[float]:
        return list(values)


ALONE = Alone()


def shard_name(ranks: Ranks, number: int) -> str:
    """The file of this rank's shard."""
    of_rank = f"rank-{ranks.rank:05d}-" if ranks.world_size > 1 else ""
    return f"{of_rank}shard-{number:05d}.safetensors"


class Whole(NamedTuple):
    """A tensor over all ranks."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Share:
    """``tensors``: what this rank stores, by labels that are unique in its files. ``boxes``: label
    -> tensor's name and where in it. ``wholes``: all tensors, also those it stores nothing of.
    ``aliases``: name of a tied tensor -> the name under which it is stored.
    """

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    boxes: dict[str, tuple[str, Box]] = field(default_factory=dict)
    wholes: dict[str, Whole] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)


class _Held(NamedTuple):
    """What this rank holds of a tensor; ``owners``: the ranks that hold the same."""

    name: str
    local: torch.Tensor
    box: Box
    owners: tuple[int, ...]


def share_of(
    tensors: Mapping[str, torch.Tensor], same_on_all: Collection[str], ranks: Ranks
) -> Share:
    """``same_on_all``: names of plain tensors that are. Raise ``NotSaveable``."""
    stored, aliases = _without_aliases(tensors)
    share = Share(aliases=aliases)
    held = []
    for name, tensor in stored.items():
        box, local = local_part(tensor, name)
        share.wholes[name] = Whole(tuple(tensor.shape), dtype_name(local, name))
        if not isinstance(tensor, DTensor):
            owners = tuple(range(ranks.world_size)) if name in same_on_all else (0,)
            held.append(_Held(name, local, box, owners))
        elif box.elements:
            held.append(_Held(name, local, box, _replicas(tensor)))
    for one in _mine(held, ranks):
        stored_as = label(one.name, one.box, share.wholes[one.name].shape)
        share.tensors[stored_as] = one.local
        share.boxes[stored_as] = (one.name, one.box)
    return share


def local_part(tensor: torch.Tensor, name: str) -> tuple[Box, torch.Tensor]:
    """Where in the whole tensor this rank's part lies, and the part. Raise ``NotSaveable``."""
    if not isinstance(tensor, DTensor):
        return whole(tensor.shape), tensor.detach()
    if any(placement.is_partial() for placement in tensor.placements):
        raise NotSaveable(name, "a sum that is not finished", takes="redistribute it first")
    local = tensor.to_local().detach()
    (chunk,) = tensor.__create_chunk_list__()  # type: ignore[no-untyped-call]  # the protocol of torch.distributed.checkpoint
    box = Box(tuple(chunk.offsets), tuple(chunk.sizes))
    if not box.elements or not local.numel():  # an uneven split left nothing for this rank
        return Box((0,) * local.ndim, tuple(local.shape)), local
    if box.sizes != tuple(local.shape):
        raise NotSaveable(
            name,
            f"a tensor laid out as {tensor.placements}, of which this rank holds no one box",
            takes="lay it out with Shard and Replicate",
        )
    return box, local


def _mine(held: Sequence[_Held], ranks: Ranks) -> list[_Held]:
    """Largest first to the replica that has least: of equal ones the first."""
    loads: dict[tuple[int, ...], list[int]] = {}
    mine = []
    for one in sorted(held, key=lambda one: (-one.local.nbytes, one.name)):
        load = loads.setdefault(one.owners, [0] * len(one.owners))
        place = load.index(min(load))
        load[place] += one.local.nbytes
        if one.owners[place] == ranks.rank:
            mine.append(one)
    return mine


def _replicas(tensor: DTensor) -> tuple[int, ...]:
    """The ranks that hold the same box as this one."""
    mesh = tensor.device_mesh
    place = mesh.get_coordinate()
    assert place is not None, "a rank outside of the mesh holds nothing"
    index = tuple(
        slice(None) if placement.is_replicate() else at
        for placement, at in zip(tensor.placements, place, strict=True)
    )
    return tuple(int(rank) for rank in mesh.mesh[index].flatten())


def _without_aliases(
    tensors: Mapping[str, torch.Tensor],
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors to store, and name -> stored name of those that are the same memory (tied).

    A rank that holds nothing of a tensor cannot tell; the ranks that do decide.
    """
    stored: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    names: dict[tuple[object, ...], str] = {}
    for name, tensor in tensors.items():
        memory = _memory(tensor)
        first = name if memory is None else names.setdefault(memory, name)
        if first == name:
            stored[name] = tensor
        else:
            aliases[name] = first
    return stored, aliases


def _memory(tensor: torch.Tensor) -> tuple[object, ...] | None:
    """What two names of the same memory have in common; None when there is no memory."""
    local = tensor.to_local().detach() if isinstance(tensor, DTensor) else tensor
    if local.layout is not torch.strided or local.numel() == 0:
        return None
    return (
        local.device,
        local.data_ptr(),
        local.dtype,
        tensor.shape,
        local.shape,
        local.stride(),
        local.is_conj(),
        local.is_neg(),
    )
