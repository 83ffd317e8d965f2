"""Pack a data set of any format into a packed file: token windows as they are, others as records.

Samples are read, verified and decoded as in training, a batch at a time, so memory is bounded.
"""

from pathlib import Path

import numpy as np

from headrace.core.records import Record
from headrace.data.atomic import written
from headrace.data.dataset import Dataset
from headrace.data.errors import PackRefused
from headrace.data.pack import Progress
from headrace.data.packed import TOKENS, PackWriter
from headrace.data.records import RecordEncoder, Unstorable

_SAMPLES_AT_ONCE = 64


class RepackSummary(Record, frozen=True, kw_only=True):
    """What was packed."""

    path: str
    source: str
    fingerprint: str
    samples: int
    size_bytes: int


def pack_dataset(dataset: Dataset, out: Path, *, progress: Progress | None = None) -> RepackSummary:
    """Pack all samples of ``dataset``, in order. ``progress``: (samples done, samples in all).

    Raise ``PackRefused`` (a sample that no record can hold, or ``out`` is the source),
    ``DamagedData`` or ``PackFailed``; ``out`` is then as it was.
    """
    if out.exists() and out.resolve() in (dataset.path.resolve(), dataset.index.path.resolve()):
        raise PackRefused(
            f"{out} is both a source and the output",
            why="the pack would replace its own source",
            remedy="give --out another name",
        )
    encode = RecordEncoder()
    with written(out) as file, PackWriter(file, out.parent) as packed:
        for first in range(0, len(dataset), _SAMPLES_AT_ONCE):
            stop = min(first + _SAMPLES_AT_ONCE, len(dataset))
            samples = dataset.read(np.arange(first, stop, dtype=np.int64))
            if dataset.is_tokens:
                packed.add_rows(samples)
            else:
                for number, sample in enumerate(samples, start=first):
                    packed.add_record(_encoded(encode, sample, number))
            if progress is not None:
                progress(stop, len(dataset))
        if dataset.is_tokens:
            meta = {"format": TOKENS, "tokens": dataset.meta["tokens"]}
        else:
            meta = encode.meta()
        header = packed.finish(meta)
    return RepackSummary(
        path=str(out),
        source=str(dataset.path),
        fingerprint=header.fingerprint.hex(),
        samples=header.samples,
        size_bytes=header.file_bytes,
    )


def _encoded(encode: RecordEncoder, sample: object, number: int) -> bytes:
    try:
        return encode(sample)
    except Unstorable as error:
        raise PackRefused(
            f"sample {number} cannot be packed",
            why=str(error),
            remedy="records hold bytes, text, numbers, times without a zone, lists, mappings and "
            "numeric arrays: convert the field, or pack without it",
        ) from error
