"""Large blocks of memory, aligned and in huge pages where that pays."""

import contextlib
import mmap


def aligned_memory(size_bytes: int, *, huge: bool = True) -> mmap.mmap:
    """Private memory, aligned to pages as direct reads and writes ask; at least one byte.

    ``huge``: of huge pages (madvise(2), MADV_HUGEPAGE), for what is used over and over: taking
    them into use, and copying to them, costs less than with many small ones.
    """
    memory = mmap.mmap(-1, max(1, size_bytes), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if huge:
        with contextlib.suppress(OSError, ValueError):  # a kernel without huge pages
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
