"""Files read by offset, with ``pread``: memory maps stall on Lustre and cannot report an I/O error.

Descriptors are closed when nobody holds their file any more, so that one that is dropped from
``Files`` while another thread reads from it stays open until that read is done.
"""

import errno
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from headrace.core.errors import HeadraceError
from headrace.data.errors import (
    DamagedData,
    DataChanged,
    DataNotFound,
    DataUnreachable,
    NotADataset,
)

OPEN_FILES = 256
LOOK_S = 1.0
"""How often is looked for open copies that were dropped."""
_GONE = frozenset(
    (
        *(errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH),
        *(errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.ENETDOWN),
        *(errno.ENETUNREACH, errno.ESHUTDOWN),
    )
)
"""What network file systems say when a server is gone. A disk says EIO of bytes that it lost."""


def check_there(path: Path) -> None:
    """Raise ``DataNotFound``; ``NotADataset`` or ``DataUnreachable`` where that cannot be seen."""
    try:
        path.stat()
    except OSError as error:
        raise _unopened(path, error) from error


def _unopened(path: Path, error: OSError) -> HeadraceError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return DataNotFound(path)
    if error.errno in _GONE:
        return DataUnreachable(path, error)
    return NotADataset(path, f"it cannot be opened: {error.strerror}")


class DataFile:
    """One open file. ``size_bytes`` is its length when it was opened."""

    def __init__(self, path: Path, *, name: str = ".") -> None:
        self.path = path
        self.name = name
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _unopened(path, error) from error
        self.close = weakref.finalize(self, os.close, self.descriptor)
        self.size_bytes = os.fstat(self.descriptor).st_size

    def damaged(self, why: str, start: int, size: int) -> DamagedData:
        return DamagedData(self.path, why, start=start, stop=start + size)

    def read_into(self, memory: memoryview, start: int) -> None:
        """Fill ``memory``. Raise ``OSError``, ``EOFError`` where the file ends before, or
        ``DataUnreachable``."""
        if not self.close.alive:
            raise OSError(errno.EBADF, f"{self.path} is closed")
        done = 0
        while done < len(memory):
            try:
                got = os.preadv(self.descriptor, [memory[done:]], start + done)
            except OSError as error:
                if error.errno in _GONE:
                    raise DataUnreachable(self.path, error) from error
                raise
            if not got:
                raise EOFError("the file ends before")
            done += got

    def read(self, start: int, size: int) -> bytes:
        """See ``fill``."""
        if start + size > self.size_bytes:  # before memory is taken for what is not there
            raise self.damaged("the file ends before", start, size)
        data = bytearray(size)
        self.fill(memoryview(data), start)
        return bytes(data)

    def fill(self, memory: memoryview, start: int) -> None:
        """Raise ``DamagedData`` when the bytes cannot be had, ``OSError`` when closed."""
        try:
            self.read_into(memory, start)
        except OSError as error:
            if not self.close.alive:
                raise
            why = f"reading failed: {error.strerror}"
            raise self.damaged(why, start, len(memory)) from error
        except EOFError as error:
            raise self.damaged(str(error), start, len(memory)) from error


class Place(Protocol):
    """Where files of a data set are read: where they lie, or a copy nearby."""

    def __call__(self, name: str, path: Path) -> Path:
        """``name``: in the index; ``path``: where the file lies."""
        ...

    @property
    def go_with_the_order(self) -> bool:
        """Whether copies come and go, so that it is of use to say what comes next."""
        ...

    def ahead(self, names: Sequence[str]) -> None:
        """Files that are needed from now on, in order, each once."""
        ...

    def distrust(self, name: str) -> None:
        """The copy has wrong bytes: from now on give the file itself."""
        ...


class Files:
    """The files of a data set by number, at most ``OPEN_FILES`` open at once.

    ``describe`` gives (relative name, size in bytes) of a number. Raise ``DataChanged`` where a
    file has another size than when it was indexed.
    """

    def __init__(
        self, root: Path, describe: Callable[[int], tuple[str, int]], *, place: Place | None = None
    ) -> None:
        self._root = root
        self._describe = describe
        self._place = place
        self._open: dict[int, DataFile] = {}
        self._lock = threading.Lock()
        self._look_s = 0.0
        self._closed = False

    def get(self, number: int) -> DataFile:
        found = self._open.get(number)
        return found if found is not None else self._opened(number)

    def name(self, number: int) -> str:
        """Relative to the data set's path."""
        found = self._open.get(number)
        return found.name if found is not None else self._describe(number)[0]

    def path(self, number: int) -> tuple[str, Path]:
        """(relative name, where it lies)."""
        name, _ = self._describe(number)
        return name, self._root if name == "." else self._root / name

    def adopt(self, number: int, file: DataFile) -> None:
        """Use a file that is open already."""
        self._open[number] = file

    @property
    def go_with_the_order(self) -> bool:
        """Whether ``ahead`` is of use: there are copies that come and go."""
        return self._place is not None and self._place.go_with_the_order

    def ahead(self, numbers: Sequence[int]) -> None:
        """Files that are needed from now on, in order, each once. Does not wait.

        All are opened anew when they are read next: a copy may have come.
        """
        if self._place is not None:
            with self._lock:
                self._open.clear()
            self._place.ahead([self._describe(number)[0] for number in numbers])

    def distrust(self, number: int, file: DataFile) -> bool:
        """Bytes of ``file`` were wrong: read the source from now on. False when it is that."""
        name, path = self.path(number)
        if self._place is None or file.path == path:
            return False
        self._place.distrust(name)
        self.forget(number, file)
        return True

    def forget(self, number: int, file: DataFile) -> None:
        """Open it anew when it is read next."""
        with self._lock:
            if self._open.get(number) is file:
                del self._open[number]

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for file in self._open.values():
                file.close()
            self._open.clear()

    def _opened(self, number: int) -> DataFile:
        name, size_bytes = self._describe(number)
        path = self._root if name == "." else self._root / name
        near = path if self._place is None else self._place(name, path)
        try:
            file = DataFile(near, name=name)
        except DataNotFound:
            if near == path:
                raise
            file = DataFile(path, name=name)  # the copy was dropped a moment ago
        if file.size_bytes != size_bytes:
            raise DataChanged(path, indexed_bytes=size_bytes, found_bytes=file.size_bytes)
        with self._lock:
            if self._closed:
                file.close()
                raise OSError(errno.EBADF, f"{self._root} is closed")
            if self._place is not None and time.monotonic() >= self._look_s:
                self._look_s = time.monotonic() + LOOK_S
                self._let_go_of_dropped()
            while len(self._open) >= OPEN_FILES:
                del self._open[next(iter(self._open))]
            return self._open.setdefault(number, file)

    def _let_go_of_dropped(self) -> None:
        """A copy that was dropped takes room as long as it is open."""
        for number, file in list(self._open.items()):
            if not os.fstat(file.descriptor).st_nlink:
                del self._open[number]
