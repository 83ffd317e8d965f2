"""Share of the machine's limit that the reader reaches, checksums on; aim: half of it or more.

The limit is a bare loop of ``preadv`` into memory that is used again, in the same order, without
checks. Workloads: 65,536 windows of 2,048 tokens of two bytes; 20,000 blobs of about 50 KiB; batch
64, shuffled, warm cache, 1 and 2 threads. Runs alternate; the median of five is printed.

    python benchmarks/data_reader.py [FOLDER]
"""

import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from headrace import data
from headrace.data.atomic import written
from headrace.data.order import sample_at
from headrace.data.packed import TOKENS, PackWriter

WINDOW, WINDOWS, BLOBS, BATCH, RUNS = 2048, 65_536, 20_000, 64, 5


def make_tokens(out: Path) -> None:
    rng = np.random.default_rng(1)
    with written(out) as file, PackWriter(file, out.parent) as packed:
        for _ in range(0, WINDOWS, 1024):
            packed.add_rows(rng.integers(0, 1 << 16, (1024, WINDOW + 1), np.uint16))
        packed.finish(
            {"format": TOKENS, "tokens": {"dtype": "<u2", "window": WINDOW, "vocab": 1 << 16}}
        )


def make_blobs(out: Path) -> None:
    rng = np.random.default_rng(2)
    with written(out) as file, PackWriter(file, out.parent) as packed:
        for size in rng.integers(45_000, 56_000, BLOBS).tolist():
            packed.add_record(rng.bytes(size))
        packed.finish({"format": "records", "fields": None})


def limit(dataset: data.Dataset, threads: int) -> float:
    """Samples a second of bare ``preadv`` calls."""
    order = sample_at(7, 0, np.arange(len(dataset)), len(dataset))
    places = dataset.find(order)
    descriptor = dataset.index.file.descriptor
    share = -(-len(dataset) // threads)

    def loop(first: int) -> None:
        memory = memoryview(bytearray(max(places.sizes) * BATCH))
        rows = [memory[n * max(places.sizes) :] for n in range(BATCH)]
        part = slice(first, first + share)
        for number, (start, size) in enumerate(
            zip(places.starts[part], places.sizes[part], strict=True)
        ):
            os.preadv(descriptor, (rows[number % BATCH][:size],), start)

    loops = [threading.Thread(target=loop, args=(n * share,)) for n in range(threads)]
    begin = time.perf_counter()
    for one in loops:
        one.start()
    for one in loops:
        one.join()
    return len(dataset) / (time.perf_counter() - begin)


def ours(dataset: data.Dataset, threads: int) -> float:
    """Samples a second of one epoch of the reader, after the first batch."""
    seen = 0
    with data.batches(
        dataset, global_batch=BATCH, seed=7, reading=data.Reading(threads=threads)
    ) as batches:
        next(batches)
        begin = time.perf_counter()
        for _ in range(len(dataset) // BATCH - 1):
            seen += len(next(batches).samples)
        return seen / (time.perf_counter() - begin)


def race(name: str, dataset: data.Dataset) -> None:
    for threads in (1, 2):
        rates: dict[Callable[[data.Dataset, int], float], list[float]] = {limit: [], ours: []}
        for run in range(RUNS):
            for measure in (limit, ours) if run % 2 else (ours, limit):
                rates[measure].append(measure(dataset, threads))
        best, got = statistics.median(rates[limit]), statistics.median(rates[ours])
        print(
            f"{name:8} {threads} threads  limit {best:10,.0f}/s  headrace {got:10,.0f}/s  "
            f"{got / best:5.0%} of the limit (aim 50 %)",
            flush=True,
        )


def main(folder: Path) -> None:
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    for name, make in (("tokens", make_tokens), ("blobs", make_blobs)):
        path = folder / f"{name}.hrdata"
        if not path.exists():
            make(path)
        race(name, data.open(path))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
