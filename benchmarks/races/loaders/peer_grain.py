"""Grain over ArrayRecord: its dataset pipeline with a global shuffle.

Two variants, the better of which counts: ``threads`` of its reader in this process, and worker
``processes`` by ``mp_prefetch`` (each with its reader in the worker, batches through shared memory,
both as its guide does). Tokens are decoded by ``np.frombuffer`` and stacked by its own ``batch``;
blobs are kept as a list. ArrayRecord is written with ``group_size:1``, as Grain asks, in
shards of 2,048 samples, since the time to read one sample grows with the records of its file.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grain
import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from consumer import Batch, main
from workload import BATCH, SEED, Raw

PREFETCH = 500
SHARD = 2048


def write(raw: Raw, folder: Path) -> None:
    samples = raw.rows() if raw.workload == "tokens" else raw.blobs()
    for first in range(0, len(samples), SHARD):
        file = ArrayRecordWriter(str(folder / f"{first:06d}"), "group_size:1,uncompressed")
        for sample in samples[first : first + SHARD]:
            file.write(sample.tobytes())
        file.close()


def tokens(sample: bytes) -> Any:
    return np.frombuffer(sample, np.uint16)


def together(samples: Sequence[bytes]) -> list[bytes]:
    return list(samples)


def read(raw: Raw, folder: Path, variant: str, workers: int) -> Iterator[Batch]:
    source = grain.sources.ArrayRecordDataSource(sorted(map(str, folder.glob("*"))))
    samples = grain.MapDataset.source(source).shuffle(seed=SEED)
    if raw.workload == "tokens":
        batches = samples.map(tokens).batch(BATCH)
    else:
        batches = samples.batch(BATCH, batch_fn=together)
    threads = workers if variant == "threads" else 1
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=PREFETCH // BATCH)
    stream = batches.to_iter_dataset(options)
    if variant == "processes":
        processes = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=4)
        stream = stream.mp_prefetch(processes)
    return iter(stream)


if __name__ == "__main__":
    main(write, read)
