"""Memory is used again exactly when nobody refers to it."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.unit.core.test_memory import HUGE_PAGES, is_advised

from headrace.data.buffers import Buffers, Memory


@pytest.fixture
def one() -> Buffers:
    return Buffers(most=1)


def address(memory: Memory) -> int:
    return int(memory.__array_interface__["data"][0])


def test_what_nobody_holds_is_used_again(one: Buffers) -> None:
    first = address(one.get(1000))
    assert address(one.get(1000)) == first
    assert address(one.get(500)) == first


@pytest.mark.parametrize(
    "hold",
    [
        lambda memory: memory,
        lambda memory: memory[3:7],
        lambda memory: memory.view(np.uint16).reshape(5, 100)[2],
        lambda memory: memoryview(memory)[1:2],
        lambda memory: memory.data.toreadonly()[1:2],
        lambda memory: torch.from_numpy(memory)[5:6],
        lambda memory: torch.utils.dlpack.from_dlpack(memory[5:6]),
        lambda memory: np.frombuffer(memory.data[8:16], np.uint32),
    ],
)
def test_what_anything_refers_to_is_never_overwritten(
    one: Buffers, hold: Callable[[Memory], object]
) -> None:
    memory = one.get(1000)
    memory[:] = 7
    first = address(memory)
    held = hold(memory)
    del memory
    for _ in range(3):
        other = one.get(1000)
        assert address(other) != first
        other[:] = 1
        del other
    assert set(bytes(np.asarray(held))) == {7}
    del held
    assert address(one.get(1000)) == first


def test_memory_that_was_given_as_a_view_is_not_overwritten_while_it_is_held() -> None:
    def aligned(size_bytes: int) -> Memory:
        raw = np.empty(size_bytes + 4096, np.uint8)
        start = -address(raw) % 4096
        return raw[start : start + size_bytes]

    buffers = Buffers(most=1, allocate=aligned)
    held = buffers.get(1000)
    assert address(held) % 4096 == 0
    held[:] = 7
    buffers.get(1000)[:] = 1
    assert set(held.tolist()) == {7}
    first = address(held)
    del held
    assert address(buffers.get(1000)) == first


def test_a_buffer_that_is_too_small_makes_room_for_a_larger_one(one: Buffers) -> None:
    one.get(1000)
    large = one.get(10_000_000)
    assert large.nbytes == 10_000_000
    where = address(large)
    del large
    assert address(one.get(9_000_000)) == where


@pytest.mark.skipif(not HUGE_PAGES.exists(), reason="a kernel without huge pages")
def test_what_fills_huge_pages_comes_in_those(one: Buffers) -> None:
    large = one.get(3_200_000)
    assert is_advised(address(large))
    assert not is_advised(address(Buffers(most=1).get(300_000)))


def test_decoders_get_the_memory_again_that_they_freed() -> None:
    """In a process of its own, since the allocator's thresholds hold for the whole process."""
    program = """
import resource
from headrace.data.buffers import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        samples = [bytes(50_000) for _ in range(64)]
        del samples
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
fresh = faults()
keep_freed_memory()
faults()
print(fresh, faults())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    fresh, kept = map(int, done.stdout.split())
    assert kept < fresh / 10 or fresh < 100  # another allocator than glibc's keeps by itself
