"""SPDL: a pipeline of threads that ``preadv`` whole batches of a packed file.

SPDL has no format and leaves shuffling to its caller, so the raw file and the common order are
used. Chosen after its guide on parallelism: one thread-safe stage that gives up the interpreter's
lock in its reads, ``concurrency`` and ``num_threads`` equal to the workers, and a sink deep enough
never to be empty while a stage waits.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from consumer import Batch, main
from spdl.pipeline import PipelineBuilder
from workload import ROW, Raw


def write(raw: Raw, folder: Path) -> None:
    """The raw file is the packed file."""


def read(raw: Raw, folder: Path, variant: str, workers: int) -> Iterator[Batch]:
    file, offsets = os.open(raw.data, os.O_RDONLY), raw.offsets.tolist()

    def tokens(batch: list[int]) -> Batch:
        rows = np.empty((len(batch), ROW), np.uint16)
        view, size = rows.reshape(-1).view(np.uint8).data, rows.itemsize * ROW
        for row, number in enumerate(batch):
            os.preadv(file, (view[row * size : (row + 1) * size],), offsets[number])
        return rows

    def blobs(batch: list[int]) -> Batch:
        return [os.pread(file, offsets[n + 1] - offsets[n], offsets[n]) for n in batch]

    stage = tokens if raw.workload == "tokens" else blobs
    pipeline = (
        PipelineBuilder()
        .add_source(raw.batches())
        .pipe(stage, concurrency=workers)
        .add_sink(8)
        .build(num_threads=workers)
    )
    with pipeline.auto_stop():
        yield from pipeline


if __name__ == "__main__":
    main(write, read)
