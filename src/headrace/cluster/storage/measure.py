"""Measure how fast a folder is, say how each number was taken, and leave nothing behind.

Writes are timed with their flush. Reads go around this machine's cache (O_DIRECT), or after it was
emptied; where neither works the number says so, and the cached one stands beside it. Servers have
caches too: those are avoided only by reading on another node.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from headrace.cluster.storage import fio
from headrace.cluster.storage.cached import cached_share, drop, takes_direct
from headrace.cluster.storage.errors import (
    MeasureFailed,
    NoRoomToMeasure,
    NoSuchFolder,
    NotAnswering,
)
from headrace.cluster.storage.storage import Storage
from headrace.cluster.storage.transfer import Moved, Order, metadata, transfer
from headrace.core.records import DecodeError, Record, decode, encode

SIZE_BYTES = 1 << 30
SECONDS = 10.0
_FOLDER = ".headrace-bench-"
_BLOCK_BYTES = 1 << 20
_SMALL_BLOCK_BYTES = 4 << 10
_FILE_MIN_BYTES = 4 << 20
_META_FILES = 1000
_CACHED_MAX = 0.05
_GRACE_S = 60.0
_MEMORY = ("tmpfs", "ramfs")


class Speed(Record, frozen=True, kw_only=True):
    """One number. ``how``: flushed, direct, dropped, partly cached, cached, memory, other node; or
    empty.

    ``bytes_s`` is None for metadata.
    """

    what: str
    how: str
    bytes_s: float | None = None
    operations_s: float
    p99_ms: float | None = None
    seconds: float


class Measured(Record, frozen=True, kw_only=True):
    """``worker``: fio's version, or headrace. ``notes``: what the numbers do not say themselves."""

    path: str
    kind: str
    worker: str
    jobs: int
    size_bytes: int
    speeds: tuple[Speed, ...]
    notes: tuple[str, ...]


class Wish(Record, frozen=True, kw_only=True):
    """``size_bytes``: of all files together. ``seconds``: at most, for each number. ``other``: the
    words before a command that run it on another node. ``own``: our worker even where fio is."""

    size_bytes: int | None = None
    seconds: float = SECONDS
    jobs: int = 4
    other: tuple[str, ...] = ()
    own: bool = False


Tell = Callable[[str, float], None]


def measure(storage: Storage, wish: Wish, tell: Tell) -> Measured:
    """Measure the folder. ``tell`` hears what is done and its share of the whole.

    Raise ``NotAnswering``, ``NoSuchFolder``, ``NoRoomToMeasure``, ``MeasureFailed``.
    """
    size_bytes = check(storage, wish)
    worker = None if wish.own else fio.version()
    with bench_folder(Path(storage.looked_at)) as folder:
        bench = _Bench(
            folder,
            wish,
            size_bytes // wish.jobs,
            with_fio=worker is not None,
            memory=storage.kind in _MEMORY,
            tell=tell,
        )
        try:
            speeds = tuple(bench.run())
        except OSError as error:
            raise MeasureFailed(storage.path, error.strerror or str(error)) from error
    return Measured(
        path=storage.path,
        kind=storage.kind,
        worker=worker or "headrace",
        jobs=wish.jobs,
        size_bytes=bench.written_bytes,
        speeds=speeds,
        notes=tuple(_notes(storage, wish, speeds, worker)),
    )


def check(storage: Storage, wish: Wish) -> int:
    """Bytes to write. Half of the room is left to others; a tenth is used if nothing is asked."""
    if not storage.answers:
        raise NotAnswering(storage.path, storage.source)
    if not storage.folder or os.path.realpath(storage.path) != storage.looked_at:
        raise NoSuchFolder(storage.path)
    free_bytes = storage.free_bytes or 0
    least_bytes = _FILE_MIN_BYTES * wish.jobs
    size_bytes = wish.size_bytes or max(least_bytes, min(SIZE_BYTES, free_bytes // 10))
    size_bytes = max(size_bytes, least_bytes)
    if size_bytes > free_bytes // 2:
        raise NoRoomToMeasure(storage.path, size_bytes, free_bytes)
    return size_bytes


class _Bench:
    def __init__(
        self, folder: Path, wish: Wish, file_bytes: int, *, with_fio: bool, memory: bool, tell: Tell
    ) -> None:
        self._folder = folder
        self._memory = memory
        self._wish = wish
        self._with_fio = with_fio
        self._file_bytes = file_bytes // _BLOCK_BYTES * _BLOCK_BYTES
        self._paths = tuple(str(folder / fio.FILES.format(n)) for n in range(wish.jobs))
        self._tell = tell
        self._done = 0
        self.written_bytes = 0

    def run(self) -> Iterator[Speed]:
        yield self._speed("write", "flushed", self._go("write", "write", _BLOCK_BYTES))
        sizes = [os.stat(path).st_size for path in self._paths]
        self.written_bytes = sum(sizes)
        self._file_bytes = min(sizes) // _BLOCK_BYTES * _BLOCK_BYTES
        if self._file_bytes == 0:
            raise TimeoutError(0, "it wrote less than 1 MiB in the time given")
        for what, verb, block_bytes in (
            ("read", "read", _BLOCK_BYTES),
            ("random 1 MiB", "random", _BLOCK_BYTES),
            ("random 4 KiB", "random", _SMALL_BLOCK_BYTES),
        ):
            yield from self._reads(what, verb, block_bytes)
        yield from self._metadata()

    def _metadata(self) -> Iterator[Speed]:
        def tell(share: float) -> None:
            self._tell("metadata", self._share(share))

        self._done += 1
        for rate in metadata(self._folder, _META_FILES, self._wish.seconds / 3, tell):
            speed = rate.count / rate.seconds
            yield Speed(what=rate.what, how="", operations_s=speed, seconds=rate.seconds)

    def _reads(self, what: str, verb: str, block_bytes: int) -> Iterator[Speed]:
        if self._memory:
            yield self._speed(what, "memory", self._go(what, verb, block_bytes))
        elif all(takes_direct(Path(path)) for path in self._paths):
            yield self._speed(what, "direct", self._go(what, verb, block_bytes, direct=True))
        else:
            for path in self._paths:
                drop(Path(path))
            shares = [cached_share(Path(path)) for path in self._paths]
            emptied = all(share is not None and share <= _CACHED_MAX for share in shares)
            how = "dropped" if emptied else "partly cached"
            yield self._speed(what, how, self._go(what, verb, block_bytes))
            if not emptied:
                yield self._speed(what, "cached", self._go(what, verb, block_bytes))
        if self._wish.other:
            yield self._speed(what, "other node", self._elsewhere(verb, block_bytes))

    def _go(self, what: str, verb: str, block_bytes: int, *, direct: bool = False) -> Moved:
        order = self._order(verb, block_bytes, direct=direct)
        self._done += verb != "write"

        def tell(passed_s: float) -> None:
            self._tell(what, self._share(min(1.0, passed_s / order.seconds)))

        if self._with_fio:
            return _run_fio(fio.command(order, str(self._folder)), order, tell)
        return transfer(order, tell)

    def _order(self, verb: str, block_bytes: int, *, direct: bool = False) -> Order:
        return Order(
            verb=verb,
            paths=self._paths,
            block_bytes=block_bytes,
            file_bytes=self._file_bytes,
            seconds=self._wish.seconds,
            direct=direct,
        )

    def _elsewhere(self, verb: str, block_bytes: int) -> Moved:
        """By our worker, that needs no more than this Python and this code to be there."""
        module = "headrace.cluster.storage.transfer"
        order = encode(self._order(verb, block_bytes)).decode()
        words = [*self._wish.other, sys.executable, "-m", module, order]
        try:
            done = subprocess.run(
                words, capture_output=True, timeout=self._wish.seconds + _GRACE_S, check=False
            )
            return decode(done.stdout, Moved)
        except subprocess.TimeoutExpired as error:
            raise MeasureFailed("reading on another node", "it took too long") from error
        except DecodeError as error:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            why = said[-1] if said else f"exit status {done.returncode}"
            raise MeasureFailed("reading on another node", why) from error

    def _share(self, of_this: float) -> float:
        return min(1.0, (self._done + of_this) / 5)

    def _speed(self, what: str, how: str, moved: Moved) -> Speed:
        seconds = max(moved.seconds, 1e-9)
        return Speed(
            what=what,
            how=how,
            bytes_s=moved.size_bytes / seconds,
            operations_s=moved.operations / seconds,
            p99_ms=moved.p99_ms,
            seconds=moved.seconds,
        )


def _run_fio(words: Sequence[str], order: Order, tell: Callable[[float], None]) -> Moved:
    begun_s = time.monotonic()
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    output, complaint = child.communicate(timeout=0.2)
                    break
                tell(time.monotonic() - begun_s)
        except BaseException:
            child.kill()
            raise
    moved = fio.parse(output)
    if child.returncode != 0 or moved is None:
        said = (complaint.strip() or output.strip()).splitlines()
        raise MeasureFailed("fio", said[-1] if said else f"exit status {child.returncode}")
    return moved


@contextlib.contextmanager
def bench_folder(parent: Path) -> Iterator[Path]:
    """A folder of this process that is removed at the end, also after ctrl-C or a signal to end.

    What a killed benchmark of this host left behind is removed first.
    """
    host = socket.gethostname()
    for left in parent.glob(f"{_FOLDER}{host}-*"):
        if not Path(f"/proc/{left.name.rpartition('-')[2]}").exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = parent / f"{_FOLDER}{host}-{os.getpid()}"
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise MeasureFailed(str(parent), error.strerror or str(error)) from error
    try:
        with _signals_raise():
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """SIGTERM and SIGHUP end this thread's work as ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, end) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _notes(
    storage: Storage, wish: Wish, speeds: Sequence[Speed], worker: str | None
) -> Iterator[str]:
    ways = {speed.how for speed in speeds}
    if worker is None and not wish.own:
        yield "fio is not installed: measured by our own threads, one request at a time each"
    if "memory" in ways:
        yield "this file system is memory: there is no cache to avoid"
    if "direct" in ways:
        yield "reads went around this machine's cache (O_DIRECT)"
    if "dropped" in ways:
        yield "this machine's cache was emptied of the files before each read"
    if "partly cached" in ways:
        yield "this machine's cache could not be avoided: reads may be faster than the storage is"
    if storage.network and not wish.other:
        yield "servers may have answered from their memory: --read-on reads on another node"
    if storage.network:
        yield "stat may be answered by what this node remembers of a file"
