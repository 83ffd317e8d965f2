"""MosaicML Streaming: MDS shards through StreamingDataset and StreamingDataLoader.

Chosen after its documentation: local shards of the default 64 MB, uncompressed, tokens as a column
of fixed shape (``ndarray:uint16:2048``), blobs as ``bytes``; ``py1e``, its default shuffle; the
batch size given to the data set as well. 0 workers is in this process.

Its ``vision`` needs torchvision, of which there is no build beside a CPU build of torch on the
package index; the race has no use for it, so an empty module stands in.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from consumer import Batch, main
from workload import BATCH, ROW, SEED, Raw

sys.modules["streaming.vision"] = ModuleType("streaming.vision")

import streaming  # noqa: E402
from streaming.base.util import clean_stale_shared_memory  # noqa: E402


def write(raw: Raw, folder: Path) -> None:
    kind = f"ndarray:uint16:{ROW}" if raw.workload == "tokens" else "bytes"
    samples = raw.rows() if raw.workload == "tokens" else map(bytes, raw.blobs())
    with streaming.MDSWriter(out=str(folder), columns={"sample": kind}, exist_ok=True) as file:
        for sample in samples:
            file.write({"sample": sample})


def together(samples: list[dict[str, Any]]) -> list[bytes]:
    return [sample["sample"] for sample in samples]


def read(raw: Raw, folder: Path, variant: str, workers: int) -> Iterator[Batch]:
    clean_stale_shared_memory()
    data = streaming.StreamingDataset(
        local=str(folder),
        shuffle=True,
        shuffle_seed=SEED,
        batch_size=BATCH,
        num_canonical_nodes=1,
    )
    collate = {} if raw.workload == "tokens" else {"collate_fn": together}
    loader = streaming.StreamingDataLoader(data, batch_size=BATCH, num_workers=workers, **collate)
    for batch in loader:
        yield batch["sample"].numpy() if raw.workload == "tokens" else batch


if __name__ == "__main__":
    main(write, read)
