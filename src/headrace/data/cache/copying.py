"""Copies files in pieces, several at a time: a parallel file system is slow one request at a time.

A copy appears under its name when all its bytes are on the disk and its source file is still as it
was listed; with that file's time of change, by which readers know it. A full disk ends the copying,
not the run: what is whole stays, the rest is read from the source.
"""

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from headrace.data.cache.folder import CachedSet
from headrace.data.cache.listing import Listed

THREADS = 8
_READ_BYTES = 4 << 20
_PIECE_BYTES = 64 << 20
_SAY_S = 0.5
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM)


class Copied(NamedTuple):
    """``why``: what kept the others from being copied; None when all were."""

    files: int
    size_bytes: int
    why: str | None


class _Part:
    """A copy in the making. ``left``: pieces that nobody has done yet."""

    def __init__(self, source: Path, file: Listed, path: Path) -> None:
        self.source = source
        self.file = file
        self.path = path
        self.left = max(1, -(-file.size_bytes // _PIECE_BYTES))
        self.failed = False

    def pieces(self) -> Iterator[tuple[int, int]]:
        for start in range(0, max(1, self.file.size_bytes), _PIECE_BYTES):
            yield start, min(start + _PIECE_BYTES, self.file.size_bytes)


class Copying:
    """Copies ``files`` of a source into ``into``, which has an owner: us.

    Its threads keep no process from ending: one may wait for a file system that has died.
    """

    def __init__(self, into: CachedSet, files: Sequence[Listed]) -> None:
        self._into = into
        self._parts = [
            _Part(into.listing.path(file), file, into.parts / f"{number}.part")
            for number, file in enumerate(files)
        ]
        self._pieces = iter([(part, *piece) for part in self._parts for piece in part.pieces()])
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._why: str | None = None
        self._error: BaseException | None = None
        self._whole: list[Listed] = []
        self.done_bytes = 0

    def run(self, say: Callable[[int], None]) -> Copied:
        """``say`` is called twice a second, and at the end, with the bytes copied so far."""
        count = min(THREADS, sum(part.left for part in self._parts))
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        self._clear()  # of an owner that was killed
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(_SAY_S)
                    say(self.done_bytes)
            say(self.done_bytes)
        finally:
            self._stop.set()
            self._clear()
        if self._error is not None:
            raise self._error
        return Copied(len(self._whole), sum(file.size_bytes for file in self._whole), self._why)

    def _clear(self) -> None:
        for part in self._parts:
            with contextlib.suppress(OSError):
                part.path.unlink()

    def _work(self) -> None:
        memory = memoryview(bytearray(_READ_BYTES))
        try:
            while not self._stop.is_set():
                with self._lock:
                    piece = next(self._pieces, None)
                if piece is None:
                    return
                self._piece(*piece, memory)
        except BaseException as error:
            self._error = error
            self._stop.set()

    def _piece(self, part: _Part, start: int, stop: int, memory: memoryview) -> None:
        try:
            if not part.failed:
                self._copy(part, start, stop, memory)
        except EOFError:
            self._give_up(part, f"{part.source} became shorter while it was copied")
        except OSError as error:
            self._give_up(part, _reason(part, error))
            if error.errno in _FULL:
                self._stop.set()
        with self._lock:
            part.left -= 1
            last = part.left == 0
        if last:
            self._finish(part)

    def _copy(self, part: _Part, start: int, stop: int, memory: memoryview) -> None:
        source = os.open(part.source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            target = os.open(part.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                at = start
                while at < stop:
                    if self._stop.is_set():
                        part.failed = True
                        return
                    piece = memory[: min(_READ_BYTES, stop - at)]
                    got = os.preadv(source, [piece], at)
                    if not got:
                        raise EOFError
                    _write_all(target, piece[:got], at)
                    at += got
                    with self._lock:
                        self.done_bytes += got
                os.posix_fadvise(source, start, stop - start, os.POSIX_FADV_DONTNEED)
                os.fsync(target)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _finish(self, part: _Part) -> None:
        """The last piece of a file is done, or given up."""
        file = part.file
        try:
            now = part.source.stat()
            if (now.st_size, now.st_mtime_ns) != (file.size_bytes, file.mtime_ns):
                self._give_up(part, f"{part.source} changed while it was copied")
            if part.failed or self._stop.is_set():
                return
            part.path.chmod(0o400)
            os.utime(part.path, ns=(now.st_atime_ns, file.mtime_ns))
            copy = self._into.copy(file)
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.replace(part.path, copy)
            with self._lock:
                self._whole.append(file)
        except OSError as error:
            self._give_up(part, _reason(part, error))

    def _give_up(self, part: _Part, why: str) -> None:
        part.failed = True
        with self._lock:
            self._why = self._why or why


def _write_all(descriptor: int, data: memoryview, at: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], at + done)


def _reason(part: _Part, error: OSError) -> str:
    if error.errno in _FULL:
        return f"the node has no more room: {(error.strerror or str(error)).lower()}"
    return f"{part.source}: {(error.strerror or str(error)).lower()}"
