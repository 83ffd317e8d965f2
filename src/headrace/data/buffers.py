"""Memory for batches, used again once nobody refers to it.

On a busy machine fresh memory costs more than reading into it: the kernel must find and clear each
page. So what fills huge pages comes in those, and is used over and over. A buffer is handed out
again only when the pool holds the last reference to it: an array, a memoryview or a tensor of
someone else's that shares its memory keeps it out of use.
"""

import functools
import sys
import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from headrace.core.memory import aligned_memory

Memory = NDArray[np.uint8]
Allocate = Callable[[int], Memory]
_GRAIN_BYTES = 1 << 16
_HUGE_BYTES = 2 << 20  # a huge page of x86, and of arm with small pages of 4 KiB
_LARGE_BYTES = 31 << 20  # glibc heeds blocks of up to 32 MiB


def plain(size_bytes: int) -> Memory:
    if size_bytes < _HUGE_BYTES:
        return np.empty(size_bytes, np.uint8)
    whole = -(-size_bytes // _HUGE_BYTES) * _HUGE_BYTES
    return np.frombuffer(aligned_memory(whole), np.uint8)


@functools.cache
def keep_freed_memory() -> None:
    """Have the allocator keep what decoders free, some tens of MiB, for their next samples.

    glibc hands memory back to the kernel until a large block has been freed once: that raises the
    sizes from which blocks are mapped, and heaps cut, for the whole process (mallopt(3),
    M_MMAP_THRESHOLD). Elsewhere nothing happens.
    """
    bytearray(_LARGE_BYTES)


class Buffers:
    """Keeps at most ``most`` buffers; more are made when needed, and not kept.

    Each is an array of its own over what ``allocate`` gave: that may be a view, and arrays cut from
    a view refer to the memory below it, not to it.
    """

    def __init__(self, *, most: int, allocate: Allocate = plain) -> None:
        self._most = most
        self._allocate = allocate
        self._kept = [plain(1)]
        self._alone = sys.getrefcount(self._kept[0])  # what it says of what only the list holds
        self._kept.clear()
        self._lock = threading.Lock()

    def get(self, size_bytes: int) -> Memory:
        """``size_bytes`` of memory, of unknown content."""
        with self._lock:
            for place in range(len(self._kept)):
                if sys.getrefcount(self._kept[place]) == self._alone:
                    if len(self._kept[place]) >= size_bytes:
                        return self._kept[place][:size_bytes]
                    del self._kept[place]
                    break
            grains = -(-max(1, size_bytes) * 5 // 4 // _GRAIN_BYTES)
            allocated = self._allocate(max(1, grains) * _GRAIN_BYTES)
            memory = np.frombuffer(allocated.data, np.uint8)
            if len(self._kept) < self._most:
                self._kept.append(memory)
            return memory[:size_bytes]
