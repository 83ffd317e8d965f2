"""Headrace: its packed file through ``data.open`` and ``data.batches``.

The default settings but the number of threads: each sample's checksum is verified, batches come in
the order that is the same at any world size. With 0 threads, whoever asks for a batch reads it.
"""

from collections.abc import Iterator
from pathlib import Path

from consumer import Batch, main
from workload import BATCH, ROW, SEED, Raw

from headrace import data
from headrace.data.atomic import written
from headrace.data.packed import TOKENS, PackWriter

PACK = "data.hrdata"
AT_ONCE = 1024


def write(raw: Raw, folder: Path) -> None:
    with written(folder / PACK) as file, PackWriter(file, folder) as packed:
        if raw.workload == "tokens":
            rows = raw.rows()
            for first in range(0, len(rows), AT_ONCE):
                packed.add_rows(rows[first : first + AT_ONCE])
            shape = {"dtype": "<u2", "window": ROW - 1, "vocab": 1 << 16}
            packed.finish({"format": TOKENS, "tokens": shape})
        else:
            for blob in raw.blobs():
                packed.add_record(bytes(blob))
            packed.finish({"format": "records", "fields": None})


def read(raw: Raw, folder: Path, variant: str, workers: int) -> Iterator[Batch]:
    reading = data.Reading(threads=workers)
    dataset = data.open(folder / PACK)
    with data.batches(dataset, global_batch=BATCH, seed=SEED, epochs=1, reading=reading) as batches:
        for batch in batches:
            yield batch.samples


if __name__ == "__main__":
    main(write, read)
