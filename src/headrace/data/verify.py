"""Read all of a data set and list what is damaged in it: data, index, and bytes of no use."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from headrace.core.errors import HeadraceError
from headrace.core.records import Record
from headrace.data.damage import Damage
from headrace.data.dataset import Dataset
from headrace.data.errors import DamagedData
from headrace.data.files import DataFile
from headrace.data.index import Index
from headrace.data.indexing import hash_range
from headrace.data.units import Columns

_PIECE_BYTES = 4 << 20
_NO_SAMPLE = -1
THREADS = 4
Progress = Callable[[int, int], None]
_ReadBlock = Callable[[], tuple[int, Columns]]


class Verified(Record, frozen=True, kw_only=True):
    """``damage``: each damaged part; ``index`` in it is the first sample that lies there, -1 where
    none does (a table of the index, unused bytes)."""

    path: str
    samples: int
    units: int
    data_bytes: int
    damage: tuple[Damage, ...]


def verify(
    dataset: Dataset, *, threads: int = THREADS, progress: Progress | None = None
) -> Verified:
    """Compare every byte with its checksum. ``progress``: (units done, units in all)."""
    index = dataset.index
    damage = [_damage(error) for error in index.damage()] + _unused(index)
    done, data_bytes = 0, 0
    for units, size_bytes, found in _in_threads(dataset, threads):
        damage += found
        done += units
        data_bytes += size_bytes
        if progress is not None:
            progress(done, index.header.units)
    return Verified(
        path=str(dataset.path),
        samples=index.header.samples,
        units=index.header.units,
        data_bytes=data_bytes,
        damage=tuple(damage),
    )


_Checked = tuple[int, int, list[Damage]]


def _in_threads(dataset: Dataset, threads: int) -> Iterator[_Checked]:
    with ThreadPoolExecutor(threads, thread_name_prefix="data-verify") as pool:
        under_way: deque[Future[_Checked]] = deque()
        for read in dataset.index.unit_blocks():
            under_way.append(pool.submit(_check_block, dataset, read))
            if len(under_way) > 2 * threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def _check_block(dataset: Dataset, read: _ReadBlock) -> _Checked:
    """(units, bytes, damage) of one block of units."""
    try:
        sample, units = read()
    except DamagedData as error:
        return 0, 0, [_damage(error)]
    memory = memoryview(bytearray(_PIECE_BYTES))
    damage = []
    for file, start, size, rows, digest in zip(*(column.tolist() for column in units), strict=True):
        why = _why_damaged(dataset, file, start, size, digest, memory)
        if why is not None:
            _, path = dataset.files.path(file)
            damage.append(
                Damage(index=sample, path=str(path), start=start, stop=start + size, why=why)
            )
        sample += rows
    return len(units.files), int(units.sizes.sum()), damage


def _why_damaged(
    dataset: Dataset, file: int, start: int, size: int, digest: int, memory: memoryview
) -> str | None:
    files = dataset.files
    try:
        while True:
            held = files.get(file)
            try:
                is_right = hash_range(held, start, size, memory) == digest
                why = None if is_right else "the checksum differs"
            except DamagedData as error:
                why = error.why
            if why is None or not files.distrust(file, held):  # else: a copy, so see the source
                return why
    except HeadraceError as error:
        return error.problem


def _unused(index: Index) -> list[Damage]:
    """In a packed file: padding between units, and gaps between parts, are zeros."""
    gaps = index.gaps() + (list(_padding(index)) if index.header.packed else [])
    damage = []
    for start, stop in gaps:
        place = _first_other(index.file, start, stop)
        if place is not None:
            damage.append(
                Damage(
                    index=_NO_SAMPLE,
                    path=str(index.path),
                    start=place,
                    stop=place + 1,
                    why="an unused byte is not zero",
                )
            )
    return damage


def _padding(index: Index) -> Iterator[tuple[int, int]]:
    reached: int | None = index.header.data_start
    for read in index.unit_blocks():
        try:
            _, units = read()
        except DamagedData:  # reported with the units; what they cover is not known
            reached = None
            continue
        for start, size in zip(units.starts.tolist(), units.sizes.tolist(), strict=True):
            if reached is not None and start > reached:
                yield reached, start
            reached = start + size
    if reached is not None and reached < index.header.data_stop:
        yield reached, index.header.data_stop


def _first_other(file: DataFile, start: int, stop: int) -> int | None:
    """The first byte that is not zero."""
    for place in range(start, stop, _PIECE_BYTES):
        data = file.read(place, min(_PIECE_BYTES, stop - place))
        if data.strip(b"\0"):
            return place + len(data) - len(data.lstrip(b"\0"))
    return None


def _damage(error: DamagedData) -> Damage:
    return Damage(
        index=_NO_SAMPLE, path=str(error.path), start=error.start, stop=error.stop, why=error.why
    )
