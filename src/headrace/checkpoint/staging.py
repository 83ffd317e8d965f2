"""A snapshot of training, and the memory it is copied to before the next step may change it.

Staging memory is allocated and touched once and used for every save of the same tensors. The copy
is complete when ``stage`` returns, whichever device the tensors are on; nothing that happens to
them afterwards reaches the checkpoint.
"""

import mmap
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch

from headrace.checkpoint.dtypes import TORCH_DTYPES, dtype_name
from headrace.checkpoint.manifest import ITEM_BYTES
from headrace.checkpoint.memory import PRIVATE, Rooms
from headrace.checkpoint.parts import Part
from headrace.checkpoint.shard import Placed, encode_header, grouped, widest_first
from headrace.checkpoint.share import Ranks, Share, shard_name, share_of
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


_HEADER_BYTES = 512  # of a tensor in a shard's header, at most about so many


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

    name: str
    tensors: tuple[Placed, ...]
    memory: mmap.mmap
    data: torch.Tensor

    def bytes(self) -> memoryview:
        return memoryview(self.memory)


@dataclass(frozen=True)
class StagedSnapshot:
    """``share``: which boxes of which tensors lie in the shards; its own tensors are given up.
    ``seal``: call it when the shards are hashed, with what lies in them."""

    step: int
    shards: tuple[StagedShard, ...]
    share: Share
    state: dict[str, Json]
    seal: Callable[[Part], None]

    @property
    def size_bytes(self) -> int:
        return sum(shard.data.numel() for shard in self.shards)


class Staging:
    """Memory for snapshots, one or two: a new ``stage`` overwrites the oldest.

    ``rooms``: where the memory comes from; private memory where that has no room.
    """

    def __init__(self, shard_bytes: int, ranks: Ranks, rooms: Rooms) -> None:
        self._shard_bytes = shard_bytes
        self._ranks = ranks
        self._wished = rooms
        self._rooms: Rooms = PRIVATE
        self._shapes: tuple[Shape, ...] | None = None
        self._slots: list[tuple[StagedShard, ...]] = []
        self._turn = rooms.first

    def prepare(self, snapshot: Snapshot) -> str:
        """Check the snapshot and allocate memory for it; all ranks do so together.

        Return why the memory does not outlive this process, where it was to; else "". Raise
        ``NotSaveable``, ``MemoryError``.
        """
        to_json(snapshot.state, "state")
        shapes = _shapes(self._share(snapshot).tensors)
        size_bytes = sum(shape.size_bytes for shape in shapes)
        offered = self._wished.slots(size_bytes + _HEADER_BYTES * max(1, len(shapes)))
        least = self._ranks.sum([float(offered >= count) for count in (1, 2)])
        slots = sum(ranks == self._ranks.world_size for ranks in least)
        self._rooms = self._wished if slots else PRIVATE
        self._shapes, self._slots = None, []
        reason = self._allocate(shapes, slots or 1)
        if not slots:
            short = "another rank" if offered else f"{size_bytes / (1 << 30):.2f} GiB of this rank"
            return f"there is not enough shared memory for {short}"
        return reason

    def stage(self, snapshot: Snapshot) -> StagedSnapshot:
        """Copy the snapshot. Raise ``NotSaveable``, ``MemoryError``, ``OSError``."""
        state = {key: to_json(value, f"state.{key}") for key, value in snapshot.state.items()}
        share = self._share(snapshot)
        shapes = _shapes(share.tensors)
        if shapes != self._shapes:
            self._allocate(shapes, len(self._slots) or 1)
        slot = self._turn % len(self._slots)
        self._turn += 1
        self._rooms.open(slot)
        with torch.no_grad():
            for shard in self._slots[slot]:
                for placed in shard.tensors:
                    room = shard.data[placed.start : placed.stop]
                    source = share.tensors[placed.name]
                    room.view(TORCH_DTYPES[placed.dtype]).view(placed.shape).copy_(source)
        return StagedSnapshot(
            step=snapshot.step,
            shards=self._slots[slot],
            share=replace(share, tensors={}),
            state=state,
            seal=partial(self._rooms.seal, slot),
        )

    def _share(self, snapshot: Snapshot) -> Share:
        return share_of(snapshot.tensors, snapshot.same_on_all, self._ranks)

    def _allocate(self, shapes: tuple[Shape, ...], slots: int) -> str:
        """Return why it is private memory although other was there."""
        self._shapes, self._slots = None, []  # frees the old memory before the new is taken
        reason = ""
        try:
            self._slots = [self._shards(shapes, slot) for slot in range(slots)]
        except OSError as error:
            if self._rooms is PRIVATE:
                raise
            self._rooms.give_up()  # or this rank would hold both
            self._rooms, self._slots, reason = PRIVATE, [], f"shared memory: {error.strerror}"
            self._slots = [self._shards(shapes, slot) for slot in range(slots)]
        self._shapes = shapes
        return reason

    def _shards(self, shapes: tuple[Shape, ...], slot: int) -> tuple[StagedShard, ...]:
        groups = grouped(shapes, self._shard_bytes)
        return tuple(
            self._shard(group, slot, shard_name(self._ranks, number))
            for number, group in enumerate(groups)
        )

    def _shard(self, shapes: list[Shape], slot: int, name: str) -> StagedShard:
        placed, start = [], 0
        for shape in shapes:
            stop = start + shape.size_bytes
            placed.append(Placed(shape.name, shape.dtype, shape.shape, start, stop))
            start = stop
        header = encode_header(placed)
        memory = self._rooms.room(slot, name, header, start)
        data = torch.frombuffer(memory, dtype=torch.uint8)[len(header) :]
        return StagedShard(name, tuple(placed), memory, data)


def _shapes(tensors: Mapping[str, torch.Tensor]) -> tuple[Shape, ...]:
    return tuple(
        widest_first(
            Shape(name, dtype_name(tensor, name), tuple(tensor.shape))
            for name, tensor in tensors.items()
        )
    )
