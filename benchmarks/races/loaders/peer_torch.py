"""torch's DataLoader over a memory map of the raw file.

Two variants: ``samples``, as Megatron and nanotron do (one sample a call, the default collate);
``batches``, the bulk reads that torch's documentation advises where a data set can fetch several
samples at once (``batch_size=None``, a batch sampler as sampler): one gather a batch. Blobs cross a
process border as one tensor of bytes with its bounds, since torch passes tensors through shared
memory and pickles bytes. 0 workers is in this process.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from consumer import Batch, main
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler
from workload import BATCH, SEED, Raw


def write(raw: Raw, folder: Path) -> None:
    """The raw file is mapped."""


class Tokens(Dataset[Any]):
    def __init__(self, raw: Raw) -> None:
        self.rows = raw.rows()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> torch.Tensor:
        """A number, or the list of a batch's."""
        if isinstance(index, list):
            return torch.from_numpy(self.rows[index])
        return torch.from_numpy(np.array(self.rows[index]))


class Blobs(Dataset[Any]):
    def __init__(self, raw: Raw) -> None:
        self.data, self.offsets = np.memmap(raw.data, np.uint8, "r"), raw.offsets.tolist()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: Any) -> Any:
        """A number, or the list of a batch's: then all bytes, and the ends of the blobs."""
        if not isinstance(index, list):
            return self.data[self.offsets[index] : self.offsets[index + 1]].tobytes()
        views = [self.data[self.offsets[n] : self.offsets[n + 1]] for n in index]
        ends = np.cumsum([len(view) for view in views])
        return torch.from_numpy(np.concatenate(views)), torch.from_numpy(ends)


def apart(batch: Any) -> Batch:
    data, ends = memoryview(batch[0].numpy()), batch[1].tolist()
    return [data[a:b] for a, b in pairwise([0, *ends])]


def read(raw: Raw, folder: Path, variant: str, workers: int) -> Iterator[Batch]:
    data = Tokens(raw) if raw.workload == "tokens" else Blobs(raw)
    order = RandomSampler(data, generator=torch.Generator().manual_seed(SEED))
    if variant == "samples":
        collate = None if raw.workload == "tokens" else list
        loader = DataLoader(data, BATCH, sampler=order, num_workers=workers, collate_fn=collate)
    else:
        batches = BatchSampler(order, BATCH, drop_last=False)
        loader = DataLoader(data, None, sampler=batches, num_workers=workers)
    for batch in loader:
        if raw.workload == "tokens":
            yield batch.numpy()
        else:
            yield batch if variant == "samples" else apart(batch)


if __name__ == "__main__":
    main(write, read)
