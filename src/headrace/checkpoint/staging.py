"""A snapshot of training, and the memory it is copied to before the next step may change it.

Staging memory is allocated and touched once and used for every save of the same tensors. The copy
is complete when ``stage`` returns, whichever device the tensors are on; nothing that happens to
them afterwards reaches the checkpoint.
"""

import mmap
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from headrace.checkpoint.disk import aligned_memory
from headrace.checkpoint.dtypes import TORCH_DTYPES, dtype_name
from headrace.checkpoint.manifest import ITEM_BYTES
from headrace.checkpoint.shard import Placed, encode_header
from headrace.checkpoint.share import Alone, Ranks, Share, share_of
from headrace.checkpoint.state import Json, to_json


@dataclass(frozen=True)
class Snapshot:
    """What training is after ``step`` steps.

    ``tensors``: full names, such as ``model/block.0.weight`` and
    ``optimizer/block.0.weight/exp_avg``; a ``DTensor`` is saved as the whole it is a part of.
    ``state``: everything else, as JSON; of several ranks rank 0's. ``same_on_all``: names of plain
    tensors that are the same on all ranks, whose writing they share; others are rank 0's.
    """

    step: int
    tensors: Mapping[str, torch.Tensor]
    state: Mapping[str, Json]
    same_on_all: Collection[str] = ()


class Shape(NamedTuple):
    """One tensor to be stored, without its values."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return torch.Size(self.shape).numel() * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class StagedShard:
    """One shard as it is to lie on the disk, and what lies where behind its header (``data``)."""

    tensors: tuple[Placed, ...]
    memory: mmap.mmap
    data: torch.Tensor

    def bytes(self) -> memoryview:
        return memoryview(self.memory)


@dataclass(frozen=True)
class StagedSnapshot:
    """``share``: which boxes of which tensors lie in the shards; its own tensors are given up."""

    step: int
    shards: tuple[StagedShard, ...]
    share: Share
    state: dict[str, Json]

    @property
    def size_bytes(self) -> int:
        return sum(shard.data.numel() for shard in self.shards)


_ALONE = Alone()


class Staging:
    """Memory for one snapshot at a time: a new ``stage`` overwrites the former one."""

    def __init__(self, shard_bytes: int, ranks: Ranks = _ALONE) -> None:
        self._shard_bytes = shard_bytes
        self._ranks = ranks
        self._shapes: tuple[Shape, ...] | None = None
        self._shards: tuple[StagedShard, ...] = ()

    def prepare(self, snapshot: Snapshot) -> None:
        """Check the snapshot and allocate memory for it. Raise ``NotSaveable``, ``MemoryError``."""
        to_json(snapshot.state, "state")
        self._allocate(_shapes(self._share(snapshot).tensors))

    def stage(self, snapshot: Snapshot) -> StagedSnapshot:
        """Copy the snapshot. Raise ``NotSaveable``, ``MemoryError``."""
        state = {key: to_json(value, f"state.{key}") for key, value in snapshot.state.items()}
        share = self._share(snapshot)
        self._allocate(_shapes(share.tensors))
        with torch.no_grad():
            for shard in self._shards:
                for placed in shard.tensors:
                    room = shard.data[placed.start : placed.stop]
                    source = share.tensors[placed.name]
                    room.view(TORCH_DTYPES[placed.dtype]).view(placed.shape).copy_(source)
        return StagedSnapshot(snapshot.step, self._shards, replace(share, tensors={}), state)

    def _share(self, snapshot: Snapshot) -> Share:
        return share_of(snapshot.tensors, snapshot.same_on_all, self._ranks)

    def _allocate(self, shapes: tuple[Shape, ...]) -> None:
        if shapes == self._shapes:
            return
        self._shapes, self._shards = None, ()  # frees the old memory before the new is taken
        self._shards = tuple(_shard(group) for group in _grouped(shapes, self._shard_bytes))
        self._shapes = shapes


def _shapes(tensors: Mapping[str, torch.Tensor]) -> tuple[Shape, ...]:
    """Widest elements first, so that every tensor in a shard is aligned without gaps."""
    shapes = [
        Shape(name, dtype_name(tensor, name), tuple(tensor.shape))
        for name, tensor in tensors.items()
    ]
    return tuple(sorted(shapes, key=lambda shape: (-ITEM_BYTES[shape.dtype], shape.name)))


def _grouped(shapes: tuple[Shape, ...], shard_bytes: int) -> list[list[Shape]]:
    """Shards of up to ``shard_bytes``; a larger tensor has one of its own."""
    groups: list[list[Shape]] = [[]]
    filled_bytes = 0
    for shape in shapes:
        if groups[-1] and filled_bytes + shape.size_bytes > shard_bytes:
            groups.append([])
            filled_bytes = 0
        groups[-1].append(shape)
        filled_bytes += shape.size_bytes
    return groups


def _shard(shapes: list[Shape]) -> StagedShard:
    placed, start = [], 0
    for shape in shapes:
        stop = start + shape.size_bytes
        placed.append(Placed(shape.name, shape.dtype, shape.shape, start, stop))
        start = stop
    header = encode_header(placed)
    memory = aligned_memory(len(header) + start)
    memory[: len(header)] = header
    data = torch.frombuffer(memory, dtype=torch.uint8)[len(header) :]
    return StagedShard(tuple(placed), memory, data.zero_())
