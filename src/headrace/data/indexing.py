"""Index a data set in place: find its samples, hash them, and write where they lie.

The format says where samples are; threads read and hash them; the index appears under its name when
it is whole and on the disk. Memory is bounded however many samples there are.
"""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xxhash

from headrace.core.records import Record
from headrace.data.atomic import written
from headrace.data.errors import IndexRefused, PackFailed
from headrace.data.files import DataFile, Files, check_there
from headrace.data.formats import registry
from headrace.data.formats.format import Format, Options, Unit
from headrace.data.index_writer import IndexWriter
from headrace.data.pack import Progress
from headrace.data.places import writable_place
from headrace.data.units import Columns

_UNITS_AT_ONCE = 2048
_PIECE_BYTES = 16 << 20
THREADS = 4
_LARGE_GROUP_BYTES = 64 << 20


class IndexSummary(Record, frozen=True, kw_only=True):
    """What was indexed. ``advice``: what will make reading slow, and what to do about it."""

    path: str
    index: str
    format: str
    fingerprint: str
    samples: int
    units: int
    files: int
    data_bytes: int
    index_bytes: int
    advice: tuple[str, ...] = ()


class _Batch(NamedTuple):
    columns: Columns
    size_bytes: int


def index_path(
    path: str | Path,
    *,
    format: str | None = None,
    options: Options | None = None,
    out: str | Path | None = None,
    threads: int = THREADS,
    progress: Progress | None = None,
) -> IndexSummary:
    """Index ``path``, a file or folder. ``progress`` is called with (bytes done, bytes in all).

    Raise ``DataNotFound``, ``NotADataset``, ``DamagedData``, ``IndexRefused``, ``PackageMissing``,
    ``PackFailed``, ``PackRefused`` (``out`` is no file of ours); what was there is then as it was.
    """
    path = Path(path)
    check_there(path)
    reader: Format = registry.of_name(format) if format else registry.of_path(path)
    scan = reader.scan(path, options or Options())
    sizes = [_size(path, name) for name in scan.files]
    described = list(zip(scan.files, sizes, strict=True))
    place = Path(out) if out else writable_place(path, os.environ)
    _make_folder(place)
    all_bytes = sum(sizes)
    files = Files(path, described.__getitem__)
    done_bytes, largest_group = 0, 0
    with written(place) as file, IndexWriter(place.parent) as writer:
        for batch in _hashed(files, iter(scan.units), threads):
            writer.add(batch.columns)
            done_bytes += batch.size_bytes
            largest_group = max(largest_group, _largest_group(batch.columns))
            if progress is not None:
                progress(done_bytes, max(done_bytes, all_bytes))
        header = writer.finish(
            file,
            meta={**scan.meta, "format": reader.name},
            files=described,
            root=os.fsencode(os.path.abspath(path)),
        )
        if not header.samples:
            raise IndexRefused(
                f"{path}: no samples were found",
                why=f"nothing in it is a sample of the format {reader.name}",
                remedy="check the path, --glob and --format",
            )
    files.close()
    return IndexSummary(
        path=str(path),
        index=str(place),
        format=reader.name,
        fingerprint=header.fingerprint.hex(),
        samples=header.samples,
        units=header.units,
        files=len(sizes),
        data_bytes=done_bytes,
        index_bytes=header.file_bytes,
        advice=_advice(largest_group),
    )


def _largest_group(columns: Columns) -> int:
    """Bytes of the largest unit of more than one sample."""
    return int(columns.sizes[columns.rows > 1].max(initial=0))


def _advice(largest_group: int) -> tuple[str, ...]:
    if largest_group < _LARGE_GROUP_BYTES:
        return ()
    return (
        f"samples lie in groups of up to {largest_group >> 20} MiB, and a whole group is read for "
        "one of them: write the files again with 1,000 rows or so in a group, or draw batches in "
        "blocks (data.Blocks)",
    )


def _make_folder(place: Path) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PackFailed(place, error) from error


def _size(path: Path, name: str) -> int:
    return (path if name == "." else path / name).stat().st_size


def _hashed(files: Files, units: Iterator[Unit], threads: int) -> Iterator[_Batch]:
    """Units with their hashes, in order; at most ``2 * threads`` batches are under way."""
    with ThreadPoolExecutor(threads, thread_name_prefix="data-index") as pool:
        under_way: deque[Future[_Batch]] = deque()
        while batch := list(islice(units, _UNITS_AT_ONCE)):
            under_way.append(pool.submit(_hash_units, files, batch))
            if len(under_way) > 2 * threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def _hash_units(files: Files, units: list[Unit]) -> _Batch:
    memory = memoryview(bytearray(min(_PIECE_BYTES, max(unit.size for unit in units))))
    digests = [hash_range(files.get(unit.file), unit.start, unit.size, memory) for unit in units]
    table = np.array(units, dtype=np.int64)
    numbers, starts, sizes, rows = table.T
    columns = Columns(numbers, starts, sizes, rows, np.array(digests, np.uint64))
    return _Batch(columns, int(columns.sizes.sum()))


def hash_range(file: DataFile, start: int, size: int, memory: memoryview) -> int:
    """xxh3_64 of a part of a file, read through ``memory``. Raise ``DamagedData``."""
    digest = xxhash.xxh3_64()
    for place in range(start, start + size, max(1, len(memory))):
        piece = memory[: min(len(memory), start + size - place)]
        file.fill(piece, place)
        digest.update(piece)
    return digest.intdigest()
