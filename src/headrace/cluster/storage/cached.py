"""How much of a file is in this machine's memory, and how to get it out. Linux: mincore(2)."""

import ctypes
import mmap
import os
from pathlib import Path

_PAGE = mmap.PAGESIZE


def cached_share(path: Path) -> float | None:
    """From 0 to 1; None where it cannot be told. The file must be writable and not empty."""
    try:
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            pages = -(-len(mapped) // _PAGE)
            told = ctypes.create_string_buffer(pages)
            begin = ctypes.c_char.from_buffer(mapped)
            try:
                library = ctypes.CDLL(None, use_errno=True)
                address = ctypes.c_void_p(ctypes.addressof(begin))
                if library.mincore(address, ctypes.c_size_t(len(mapped)), told) != 0:
                    return None
            finally:
                del begin
    except (OSError, ValueError):
        return None
    return sum(page & 1 for page in told.raw) / pages


def drop(path: Path) -> None:
    """Ask the kernel to forget a flushed file (posix_fadvise(2)); it may not."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def takes_direct(path: Path) -> bool:
    """Whether the file can be read around the cache (O_DIRECT)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        return False
    try:
        os.preadv(descriptor, [mmap.mmap(-1, _PAGE)], 0)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
