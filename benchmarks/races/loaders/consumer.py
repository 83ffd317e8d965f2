"""The consumer of every loader in the race, the clock around it, and the command line of a peer.

A peer is a program with ``write`` (its own form of the data) and ``read`` (batches of it). The
consumer touches the first and the last of each sample, and checks at the end that every sample came
once and whole, and not in the order of the file. The rate is that after the first batch, so that
starting processes costs nobody anything.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from workload import NUMBER_BYTES, Array, Raw

Batch = Any
"""Tokens: an array [batch, 2048] of integers. Blobs: a sequence of bytes-like objects."""

Write = Callable[[Raw, Path], None]
Read = Callable[[Raw, Path, str, int], Iterator[Batch]]
"""Of the raw data, the folder written to, the variant's name and the number of workers."""


class Consumer:
    """What was seen of one pass. ``touch`` may be called from several threads."""

    def __init__(self, workload: str) -> None:
        self.touch = self._tokens if workload == "tokens" else self._blobs
        self._numbers: list[Array] = []
        self._last: list[int] = []

    def _tokens(self, rows: Array) -> None:
        self._numbers.append(np.array(rows[:, 0], np.int64))
        self._last.append(int(rows[:, -1].sum(dtype=np.int64)))

    def _blobs(self, blobs: Sequence[Any]) -> None:
        numbers = [int.from_bytes(blob[:NUMBER_BYTES], "little") for blob in blobs]
        self._numbers.append(np.array(numbers, np.int64))
        self._last.append(sum([blob[-1] for blob in blobs]))

    @property
    def samples(self) -> int:
        return sum(map(len, self._numbers))

    def check(self, raw: Raw) -> None:
        numbers = np.concatenate(self._numbers)
        every = np.arange(len(raw.offsets) - 1)
        assert np.array_equal(np.sort(numbers), every), "every sample came once"
        assert not np.array_equal(numbers, every), "they came shuffled"
        ends = raw.rows()[:, -1] if raw.workload == "tokens" else [b[-1] for b in raw.blobs()]
        assert sum(self._last) == int(np.sum(ends, dtype=np.int64)), "every sample came whole"


def race(raw: Raw, batches: Iterator[Batch]) -> dict[str, float]:
    consumer = Consumer(raw.workload)
    began_s = time.perf_counter()
    consumer.touch(next(batches))
    first_s, first_cpu_s = time.perf_counter(), cpu_s()
    before = consumer.samples
    for batch in batches:
        consumer.touch(batch)
    ended_s, ended_cpu_s = time.perf_counter(), cpu_s()
    consumer.check(raw)
    samples = consumer.samples - before
    return {
        "rate": samples / (ended_s - first_s),
        "cpu_us": (ended_cpu_s - first_cpu_s) / samples * 1e6,
        "first_s": first_s - began_s,
    }


def cpu_s() -> float:
    """CPU time of this process and its children, those that run and those that have ended."""
    spent_s = sum(os.times()[:4])
    for path in Path("/proc/self/task").glob("*/children"):
        for child in _text(path).split():
            fields = _text(Path(f"/proc/{child}/stat")).rpartition(")")[2].split()
            spent_s += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return spent_s


def _text(path: Path) -> str:
    """Nothing of a thread or a process that has ended meanwhile."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def main(write: Write, read: Read) -> None:
    """``write|read RAW WORKLOAD FOLDER [VARIANT WORKERS]``; the last line printed is the answer."""
    act, source, workload, folder, *how = sys.argv[1:]
    raw, place = Raw(Path(source), workload), Path(folder)
    if act == "write":
        began_s = time.perf_counter()
        write(raw, place)
        answer({"write_s": time.perf_counter() - began_s})
        return
    warm(raw.folder, workload)
    warm(place, "")
    variant, workers = how
    answer(race(raw, read(raw, place, variant, int(workers))))


def warm(folder: Path, start: str) -> None:
    """Bring the files below a folder into the page cache."""
    for path in sorted(folder.rglob(f"{start}*")):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.read(1 << 24):
                    pass


def answer(found: dict[str, float]) -> None:
    print("\n" + json.dumps(found), flush=True)
