"""WebDataset: tar shards through its DataPipeline and WebLoader.

Chosen after its documentation: shards of 64 MB shuffled, a shuffle buffer of 1,000 samples, batches
made in the workers (``batch_size=None`` in the loader), raw bytes under one key (its ``.npy``
decoder costs more). The order is by its design not a global shuffle. 0 workers is in this process.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from consumer import Batch, main
from workload import BATCH, SEED, Raw

SHARD_BYTES = 64 << 20
BUFFER = 1000


def write(raw: Raw, folder: Path) -> None:
    shards = webdataset.ShardWriter(
        str(folder / "%05d.tar"), maxsize=SHARD_BYTES, maxcount=10**9, verbose=0
    )
    for number, sample in enumerate(raw.rows() if raw.workload == "tokens" else raw.blobs()):
        shards.write({"__key__": f"{number:08d}", "bin": sample.tobytes()})
    shards.close()


def tokens(samples: Sequence[tuple[bytes]]) -> Any:
    rows = np.frombuffer(bytearray().join(sample for (sample,) in samples), np.uint16)
    return torch.from_numpy(rows.reshape(len(samples), -1))


def blobs(samples: Sequence[tuple[bytes]]) -> list[bytes]:
    return [sample for (sample,) in samples]


def read(raw: Raw, folder: Path, variant: str, workers: int) -> Iterator[Batch]:
    together = tokens if raw.workload == "tokens" else blobs
    stream = (
        webdataset.WebDataset(
            sorted(map(str, folder.glob("*.tar"))), shardshuffle=100, seed=SEED, empty_check=False
        )
        .shuffle(BUFFER)
        .to_tuple("bin")
        .batched(BATCH, collation_fn=together, partial=True)
    )
    loader = webdataset.WebLoader(stream, batch_size=None, num_workers=workers)
    for batch in loader:
        yield batch.numpy() if raw.workload == "tokens" else batch


if __name__ == "__main__":
    main(write, read)
