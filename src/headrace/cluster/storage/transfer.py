"""Our own readers and writers of a benchmark: a thread a file, pread and pwrite, no copies.

``python -m headrace.cluster.storage.transfer JSON`` does one on another node.
"""

import mmap
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from headrace.cluster.storage.cached import drop, takes_direct
from headrace.core.records import Record, decode, encode, replace

_NOISE_BYTES = 4 << 20
_LOOK_S = 0.1


class Order(Record, frozen=True, kw_only=True):
    """What to do with the files, one thread each. ``seconds``: stop then, flushing apart."""

    verb: str  # write, read, random
    paths: tuple[str, ...]
    block_bytes: int
    file_bytes: int
    seconds: float
    direct: bool = False


class Moved(Record, frozen=True, kw_only=True):
    """``seconds`` is wall time, with the flush of what was written."""

    size_bytes: int
    operations: int
    seconds: float
    p99_ms: float | None = None


def transfer(order: Order, tell: Callable[[float], None] = lambda seconds: None) -> Moved:
    """Carry it out. ``tell`` hears the seconds that have passed. Raise ``OSError``."""
    stop = threading.Event()
    work = _write if order.verb == "write" else _read
    begun_s = time.monotonic()
    with ThreadPoolExecutor(len(order.paths), thread_name_prefix="storage") as pool:
        jobs = [
            pool.submit(work, order, path, number, begun_s + order.seconds, stop)
            for number, path in enumerate(order.paths)
        ]
        try:
            while wait(jobs, _LOOK_S).not_done:
                tell(time.monotonic() - begun_s)
        finally:
            stop.set()
        moved = [job.result() for job in jobs]
    took_s = time.monotonic() - begun_s
    times_s = sorted(second for _, seconds in moved for second in seconds)
    return Moved(
        size_bytes=sum(size_bytes for size_bytes, _ in moved),
        operations=len(times_s),
        seconds=took_s,
        p99_ms=1000 * times_s[len(times_s) * 99 // 100] if times_s else None,
    )


def _write(
    order: Order, path: str, number: int, until_s: float, stop: threading.Event
) -> tuple[int, list[float]]:
    """Noise, so that nothing below can pack or share it."""
    noise = memoryview(os.urandom(_NOISE_BYTES + order.block_bytes))
    times_s: list[float] = []
    done = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        while done < order.file_bytes and not stop.is_set():
            at_s = time.monotonic()
            if at_s > until_s:
                break
            skip = done * 31 % _NOISE_BYTES
            done += os.pwrite(descriptor, noise[skip : skip + order.block_bytes], done)
            times_s.append(time.monotonic() - at_s)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return done, times_s


def _read(
    order: Order, path: str, number: int, until_s: float, stop: threading.Event
) -> tuple[int, list[float]]:
    blocks = max(1, order.file_bytes // order.block_bytes)
    draw = random.Random(number)
    buffer = mmap.mmap(-1, order.block_bytes)  # aligned, as O_DIRECT asks
    times_s: list[float] = []
    done = 0
    descriptor = os.open(path, os.O_RDONLY | (os.O_DIRECT if order.direct else 0))
    try:
        if order.verb == "random":
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        for index in range(blocks):
            at_s = time.monotonic()
            if stop.is_set() or at_s > until_s:
                break
            block = draw.randrange(blocks) if order.verb == "random" else index
            done += os.preadv(descriptor, [buffer], block * order.block_bytes)
            times_s.append(time.monotonic() - at_s)
    finally:
        os.close(descriptor)
    return done, times_s


class Rate(Record, frozen=True, kw_only=True):
    """How many operations of one thread on empty files took how long."""

    what: str
    count: int
    seconds: float


def metadata(
    folder: Path, count: int, seconds: float, tell: Callable[[float], None] = lambda share: None
) -> Iterator[Rate]:
    """Make, look at and remove up to ``count`` files, each within ``seconds``.

    ``tell`` hears the share that is done. Raise ``OSError``.
    """

    def create(name: str) -> None:
        os.close(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

    names: Sequence[str] = [f"m{number}" for number in range(count)]
    acts: dict[str, Callable[[str], object]] = {
        "create": create,
        "stat": lambda name: os.stat(folder / name),
        "delete": lambda name: os.unlink(folder / name),
    }
    for number, (what, act) in enumerate(acts.items()):
        tell(number / len(acts))
        names, took_s = _repeat(act, names, seconds)
        yield Rate(what=what, count=len(names), seconds=took_s)


def _repeat(
    act: Callable[[str], object], names: Sequence[str], seconds: float
) -> tuple[Sequence[str], float]:
    """Those that were done in the time, and the time they took."""
    begun_s = time.monotonic()
    for number, name in enumerate(names, start=1):
        act(name)
        if time.monotonic() - begun_s > seconds:
            return names[:number], time.monotonic() - begun_s
    return names, max(time.monotonic() - begun_s, 1e-9)


def main() -> None:
    """The order of another node: read around the cache, or empty it first."""
    order = decode(sys.argv[1], Order)
    paths = [Path(path) for path in order.paths]
    for path in paths:
        drop(path)
    moved = transfer(replace(order, direct=all(map(takes_direct, paths))))
    sys.stdout.buffer.write(encode(moved))


if __name__ == "__main__":
    main()
