"""A file that is read by place: nothing outside of it is asked for, nothing larger is allocated."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from headrace.data.errors import DamagedData
from headrace.data.formats.listing import unreadable

CHUNK_BYTES = 1 << 20


class Source:
    """A regular file, open for reading. ``size`` is its length when it was opened."""

    def __init__(self, path: Path) -> None:
        """Raise ``IndexRefused`` when it cannot be opened or is no regular file."""
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise unreadable(path, error) from None
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(self._fd)
            raise unreadable(path, OSError(0, "it is no regular file"))
        self.size = found.st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def read(self, start: int, size: int) -> bytes:
        """Exactly these bytes. Raise ``DamagedData`` when the file has not that many."""
        if start < 0 or size < 0 or start + size > self.size:
            raise self.damaged(f"it has {self.size} bytes", start, start + size)
        parts, at = [], start
        while at < start + size:
            try:
                part = os.pread(self._fd, start + size - at, at)
            except OSError as error:
                raise unreadable(self.path, error) from None
            if not part:
                raise self.damaged("it became shorter while it was read", at, start + size)
            parts.append(part)
            at += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from ``start`` to ``stop`` (the end), at most ``CHUNK_BYTES`` at a time."""
        stop = self.size if stop is None else stop
        for at in range(start, stop, CHUNK_BYTES):
            yield self.read(at, min(CHUNK_BYTES, stop - at))

    def damaged(self, why: str, start: int = 0, stop: int | None = None) -> DamagedData:
        """The error that names this file and a place in it (all of it)."""
        stop = self.size if stop is None else stop
        return DamagedData(self.path, why, start=start, stop=stop)
