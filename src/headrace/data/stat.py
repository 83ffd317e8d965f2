"""How much a data set holds, and how the sizes of its samples are spread."""

import numpy as np

from headrace.core.records import Record
from headrace.data.dataset import Dataset


class SizeBin(Record, frozen=True, kw_only=True):
    """Samples of ``[low_bytes, high_bytes)``."""

    low_bytes: int
    high_bytes: int
    samples: int


class Measured(Record, frozen=True, kw_only=True):
    """Of units of many samples, a sample's size is its share of the unit's bytes."""

    path: str
    format: str
    samples: int
    units: int
    files: int
    data_bytes: int
    least_bytes: int
    mean_bytes: float
    most_bytes: int
    sizes: tuple[SizeBin, ...]


def measure(dataset: Dataset) -> Measured:
    """Read the index, not the data; bins are powers of two. Raise ``DamagedData``."""
    counts = np.zeros(65, np.int64)
    data_bytes, least, most = 0, None, 0
    for read in dataset.index.unit_blocks():
        _, units = read()
        held = units.rows > 0
        rows, sizes = units.rows[held], units.sizes[held] // units.rows[held]
        bins = np.where(sizes > 0, np.floor(np.log2(np.maximum(sizes, 1))) + 1, 0)
        counts += np.bincount(bins.astype(np.int64), weights=rows, minlength=65).astype(np.int64)
        data_bytes += int(units.sizes.sum())
        if len(sizes):
            least = int(sizes.min()) if least is None else min(least, int(sizes.min()))
            most = max(most, int(sizes.max()))
    samples = dataset.index.header.samples
    return Measured(
        path=str(dataset.path),
        format=dataset.index.format,
        samples=samples,
        units=dataset.index.header.units,
        files=dataset.index.files,
        data_bytes=data_bytes,
        least_bytes=least or 0,
        mean_bytes=data_bytes / samples if samples else 0.0,
        most_bytes=most,
        sizes=tuple(
            SizeBin(
                low_bytes=1 << (number - 1) if number else 0,
                high_bytes=1 << number,
                samples=int(count),
            )
            for number, count in enumerate(counts)
            if count
        ),
    )
