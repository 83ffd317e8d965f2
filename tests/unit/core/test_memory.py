"""Large blocks of memory."""

import mmap
import re
from pathlib import Path

import numpy as np
import pytest

from headrace.core.memory import aligned_memory

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage")


def address(memory: mmap.mmap) -> int:
    return int(np.frombuffer(memory, np.uint8).ctypes.data)


def is_advised(at: int) -> bool:
    """Whether the kernel was asked for huge pages there: ``hg`` in proc_pid_smaps(5)."""
    for area in re.split(r"\n(?=[0-9a-f]+-)", Path("/proc/self/smaps").read_text()):
        start, stop = (int(word, 16) for word in area.split(maxsplit=1)[0].split("-"))
        if start <= at < stop:
            return " hg" in area.partition("VmFlags:")[2]
    raise AssertionError(f"nothing lies at {at:x}")


@pytest.mark.parametrize("size_bytes", [0, 1, 4097, 5 << 20])
def test_a_block_is_aligned_to_pages_and_never_empty(size_bytes: int) -> None:
    memory = aligned_memory(size_bytes)
    assert len(memory) == max(1, size_bytes)
    assert address(memory) % mmap.PAGESIZE == 0


@pytest.mark.skipif(not HUGE_PAGES.exists(), reason="a kernel without huge pages")
@pytest.mark.parametrize("huge", [True, False])
def test_the_kernel_is_asked_for_huge_pages_where_they_are_wanted(huge: bool) -> None:
    memory = aligned_memory(4 << 20, huge=huge)
    assert is_advised(address(memory)) is huge
