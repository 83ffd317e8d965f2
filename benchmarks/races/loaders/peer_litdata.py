"""LitData: ``optimize`` and its StreamingDataset and StreamingDataLoader.

Chosen after its documentation: chunks of 64 MB; tokens as one stream of uint16 read in blocks by
``TokensLoader``, blobs as bytes; local chunks are mapped in place by default. Its loader collates
tokens to a tensor. Its blobs are views of the mapped file, which cannot cross a process border, so
they are copied out in its collate function. 0 workers is in this process.
"""

import contextlib
import io
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import litdata
import torch
from consumer import Batch, main
from workload import BATCH, ROW, SEED, Raw


class Numbered:
    """What ``optimize`` calls for each piece of work."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw

    def __call__(self, first: int) -> Iterator[Any]:
        if self.raw.workload == "tokens":
            for row in self.raw.rows()[first : first + BATCH]:
                yield torch.from_numpy(row.copy())
        else:
            offsets = self.raw.offsets[first : first + BATCH + 1].tolist()
            with self.raw.data.open("rb") as file:
                file.seek(offsets[0])
                for start, stop in pairwise(offsets):
                    yield file.read(stop - start)


def loader_of(workload: str) -> Any:
    return litdata.TokensLoader(block_size=ROW) if workload == "tokens" else None


def write(raw: Raw, folder: Path) -> None:
    size = {"chunk_size": ROW * 16384} if raw.workload == "tokens" else {"chunk_bytes": "64MB"}
    litdata.optimize(
        fn=Numbered(raw),
        inputs=list(range(0, len(raw.offsets) - 1, BATCH)),
        output_dir=str(folder),
        num_workers=1,
        item_loader=loader_of(raw.workload),
        **size,
    )


def together(samples: list[memoryview]) -> list[bytes]:
    return list(map(bytes, samples))


def read(raw: Raw, folder: Path, variant: str, workers: int) -> Iterator[Batch]:
    with contextlib.redirect_stdout(io.StringIO()):
        data = litdata.StreamingDataset(
            str(folder), item_loader=loader_of(raw.workload), shuffle=True, seed=SEED
        )
    collate = {} if raw.workload == "tokens" else {"collate_fn": together}
    loader = litdata.StreamingDataLoader(data, batch_size=BATCH, num_workers=workers, **collate)
    for batch in loader:
        yield batch.numpy() if raw.workload == "tokens" else batch


if __name__ == "__main__":
    main(write, read)
