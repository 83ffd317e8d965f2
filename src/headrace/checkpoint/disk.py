"""Large files to and from the disk itself, past the page cache where the file system can. No torch.

Writing through the page cache copies every byte and takes fresh memory for it, in competition with
training; reading back through it may show memory instead of the disk. So whole blocks go by
O_DIRECT from and to memory that is aligned (``open(2)``, NOTES), the rest and file systems without
it by plain calls. Pieces are moved by a few threads, which do not keep the interpreter from ending:
one of them may hang in the kernel.
"""

import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

BLOCK_BYTES = 4096
PIECE_BYTES = 32 << 20
THREADS = 2


def in_parallel(jobs: Iterable[Callable[[], None]], *, threads: int = THREADS) -> None:
    """Carry out all jobs; raise the first error when no job is running any more."""
    waiting = iter(jobs)
    lock = threading.Lock()
    errors: list[BaseException] = []

    def work() -> None:
        while not errors:
            with lock:
                job = next(waiting, None)
            if job is None:
                return
            try:
                job()
            except BaseException as error:
                errors.append(error)

    others = [threading.Thread(target=work, daemon=True) for _ in range(threads - 1)]
    for other in others:
        other.start()
    work()
    for other in others:
        other.join()
    if errors:
        raise errors[0]


def pieces(size_bytes: int) -> Iterator[tuple[int, int]]:
    """``[start, stop)`` of each piece of a file, the starts aligned."""
    for start in range(0, size_bytes, PIECE_BYTES):
        yield start, min(start + PIECE_BYTES, size_bytes)


class DiskFile:
    """An open file, for whole blocks also past the page cache. Raise ``OSError``."""

    def __init__(self, path: Path, flags: int) -> None:
        self.plain = os.open(path, flags | os.O_CLOEXEC, 0o644)
        self._direct: int | None = None
        try:
            again = flags & ~(os.O_CREAT | os.O_EXCL) | os.O_DIRECT | os.O_CLOEXEC
            self._direct = os.open(path, again)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                os.close(self.plain)
                raise

    def __enter__(self) -> "DiskFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for descriptor in (self.plain, self._direct):
            if descriptor is not None:
                os.close(descriptor)

    def forget(self) -> None:
        """Let the page cache drop what it has of the file, where that is on the disk."""
        os.posix_fadvise(self.plain, 0, 0, os.POSIX_FADV_DONTNEED)

    def write(self, data: memoryview, start: int) -> None:
        """Write all of ``data`` at ``start``."""
        done = 0
        while done < len(data):
            done += self._move(os.pwrite, data[done:], start + done)

    def read(self, buffer: memoryview, start: int) -> int:
        """Fill ``buffer`` from ``start`` on from the disk. Return how much there was before the end
        of the file."""
        done = 0
        while done < len(buffer):
            got = self._move(_pread_into, buffer[done:], start + done)
            if not got:
                break
            done += got
        return done

    def _move(
        self, call: Callable[[int, memoryview, int], int], part: memoryview, start: int
    ) -> int:
        """Whole blocks directly; what is left, or cannot be moved so, by way of the cache."""
        whole = len(part) // BLOCK_BYTES * BLOCK_BYTES
        if self._direct is not None and whole and start % BLOCK_BYTES == 0:
            try:
                return call(self._direct, part[:whole], start)
            except OSError as error:
                if error.errno != errno.EINVAL:  # another alignment than ours, or of the memory
                    raise
        return call(self.plain, part, start)


def _pread_into(descriptor: int, buffer: memoryview, start: int) -> int:
    return os.preadv(descriptor, [buffer], start)


def write_new(path: Path, data: bytes | memoryview) -> None:
    """Write and flush a new file; nothing of it stays in the page cache. Raise ``OSError``."""
    view = memoryview(data)
    with DiskFile(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
        in_parallel(
            partial(file.write, view[start:stop], start) for start, stop in pieces(len(view))
        )
        os.fsync(file.plain)
        file.forget()
