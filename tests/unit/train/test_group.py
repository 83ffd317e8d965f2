"""What the ranks sum on the host, and that gloo holds nothing of it when a rank leaves."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from headrace.train.group import Control, Group
from headrace.train.torch_private import is_held_by_torch


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    store = f"file://{tmp_path}/store"
    dist.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    assert dist.group.WORLD is not None
    yield Control(group=dist.group.WORLD)
    dist.destroy_process_group()


def test_a_world_of_one_sums_to_what_it_gave() -> None:
    alone = Group(rank=0, world_size=1, device=torch.device("cpu"), control=None, owned=False)
    assert alone.sum([2.5, 3.0]) == [2.5, 3.0]
    assert alone.from_first(2**40 + 1) == 2**40 + 1


def test_torch_holds_a_tensor_for_as_long_as_a_collective_is_under_way(control: Control) -> None:
    tensor = torch.ones(20_000_000)
    work = dist.all_reduce(tensor, group=control.group, async_op=True)
    lent = [tensor]
    del tensor
    assert is_held_by_torch(lent)
    work.wait()
    del work
    until = time.monotonic() + 10
    while is_held_by_torch(lent) and time.monotonic() < until:
        time.sleep(0.001)
    assert not is_held_by_torch(lent)


def test_leaving_waits_until_gloo_has_let_go_of_every_sum(control: Control) -> None:
    for number in range(20):
        assert control.start_sum([number, 1.0]).wait() == [number, 1.0]
    assert control.lent
    before = time.monotonic()
    control.leave(patience_s=10)
    assert not control.lent
    assert time.monotonic() - before < 2.0


def test_leaving_gives_up_on_a_sum_that_never_ends(control: Control) -> None:
    held = control.start_sum([1.0])
    control.leave(patience_s=0.05)
    assert control.lent
    assert held.wait() == [1.0]
