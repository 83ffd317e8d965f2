"""Whatever the device mesh and the layout: all boxes of a tensor are stored once, and loaded right.

torch's "fake" process group lets one process be each rank in turn; nothing is communicated.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard
from torch.testing._internal.distributed.fake_pg import FakeStore

from headrace.checkpoint.box import tile, whole
from headrace.checkpoint.share import Alone, Share, local_part, share_of

MESHES = st.sampled_from([(1,), (2,), (3,), (5,), (2, 2), (2, 3), (3, 2)])
Tensors = dict[str, tuple[tuple[int, ...], Sequence[Placement]]]
"""Name -> shape and placements."""
SHAPES = st.lists(st.integers(0, 7), min_size=1, max_size=3).map(tuple)


@contextmanager
def rank_of(rank: int, world_size: int) -> Iterator[None]:
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world_size)
    try:
        yield
    finally:
        dist.destroy_process_group()


@st.composite
def layouts(draw: st.DrawFn) -> tuple[tuple[int, ...], Tensors]:
    mesh = draw(MESHES)
    tensors: Tensors = {}
    for number in range(draw(st.integers(1, 4))):
        shape = draw(SHAPES)
        placement = st.one_of(st.just(Replicate()), st.integers(0, len(shape) - 1).map(Shard))
        tensors[f"w{number}"] = (shape, [draw(placement) for _ in mesh])
    return mesh, tensors


def shares(mesh_shape: tuple[int, ...], tensors: Tensors) -> list[Share]:
    """What each rank stores; the values of a tensor are its own indices."""
    found = []
    world_size = math.prod(mesh_shape)
    for rank in range(world_size):
        with rank_of(rank, world_size):
            mesh = init_device_mesh("cpu", mesh_shape)
            laid_out = {}
            for name, (shape, placements) in tensors.items():
                values = torch.arange(math.prod(shape), dtype=torch.int32).view(shape)
                laid_out[name] = lay_out(values, mesh, placements)
            plain = {"plain": torch.ones(3), "buffer": torch.ones(2)}
            ranks = Alone(rank, world_size)
            found.append(share_of({**laid_out, **plain}, ["plain"], ranks))
    return found


def lay_out(values: torch.Tensor, mesh: DeviceMesh, placements: Sequence[Placement]) -> DTensor:
    """As ``distribute_tensor`` would, without talking to anyone."""

    def part(local: torch.Tensor) -> DTensor:
        size, stride = values.shape, values.stride()
        return DTensor.from_local(
            local, mesh, placements, run_check=False, shape=size, stride=stride
        )

    empty = part(torch.empty(0))
    (chunk,) = empty.__create_chunk_list__()  # type: ignore[no-untyped-call]
    local = values
    for dimension, (start, size) in enumerate(zip(chunk.offsets, chunk.sizes, strict=True)):
        local = local.narrow(dimension, min(start, values.shape[dimension]), size)
    return part(local.clone())


@settings(max_examples=40)
@given(layouts())
def test_every_element_is_stored_by_exactly_one_rank_with_its_value(
    drawn: tuple[tuple[int, ...], Tensors],
) -> None:
    mesh_shape, tensors = drawn
    found = shares(mesh_shape, tensors)
    for name, (shape, _) in tensors.items():
        boxes = []
        for share in found:
            for label, (of, box) in share.boxes.items():
                if of == name:
                    boxes.append(box)
                    values = torch.arange(math.prod(shape), dtype=torch.int32).view(shape)
                    assert torch.equal(share.tensors[label], values[box.inside(whole(shape))])
        assert tile(boxes, shape), (name, boxes)
    for name in ("plain", "buffer"):
        assert sum(of == name for share in found for of, _ in share.boxes.values()) == 1
    assert "buffer" in {of for of, _ in found[0].boxes.values()}
    assert all(share.wholes.keys() == {*tensors, "plain", "buffer"} for share in found)


def test_replicas_take_turns_so_that_each_stores_about_as_much() -> None:
    tensors: Tensors = {f"w{n}": ((8, 4), [Replicate(), Shard(0)]) for n in range(6)}
    found = shares((2, 2), tensors)
    sizes = [sum(one.nbytes for one in share.tensors.values()) for share in found]
    assert max(sizes) - min(sizes) <= 3 * 4 + 2 * 4  # the plain ones


def test_a_tied_tensor_is_an_alias_on_every_rank_that_holds_some_of_it() -> None:
    for rank in range(3):
        with rank_of(rank, 3):
            mesh = init_device_mesh("cpu", (3,))
            one = lay_out(torch.arange(8).view(2, 4), mesh, [Shard(0)])
            share = share_of({"a": one, "b": one.detach()}, (), Alone(rank, 3))
            assert share.aliases == ({} if rank == 2 else {"b": "a"})
            assert local_part(one, "a")[1].numel() == (0 if rank == 2 else 4)
