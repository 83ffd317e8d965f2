"""What is worth its room on the node: which files to copy, which data sets to let go. Pure.

The plan of an epoch is known, so nothing has to be guessed from the past:

* Under a global shuffle each file is needed again and again, about once an epoch, at a moment that
  is as good as random. Whatever is kept is as useful as anything else, so what counts is how many
  bytes are kept, and any exchange costs a copy and gains nothing. ``admit`` therefore keeps one
  fixed set, as large as the room, for the whole run. Least recently used would be the worst choice:
  when a set is a little larger than its room, each file is dropped shortly before it is needed.
* In a sequential or block-wise order files are needed one after the other. ``window`` keeps what
  comes next, and drops what is past when room is needed.

Across runs there is no plan: of data sets that no living run uses, old states of a source that has
changed go first, then the least recently used.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

BLOCK_BYTES = 4096


class Wanted(NamedTuple):
    """A file that could be copied."""

    name: str
    size_bytes: int


class Kept(NamedTuple):
    """A data set in the cache. ``size_bytes``: what it takes. ``used_s``: when a run last did."""

    key: str
    source: str
    size_bytes: int
    used_s: float
    in_use: bool


class Admission(NamedTuple):
    """Let go of the data sets ``evict``, then copy the files ``copy``. ``whole``: that is all."""

    evict: tuple[str, ...]
    copy: tuple[Wanted, ...]
    whole: bool


class Window(NamedTuple):
    """Delete the copies ``drop``, then copy the files ``copy``, in this order."""

    drop: tuple[str, ...]
    copy: tuple[Wanted, ...]


def taken_bytes(files: Iterable[Wanted]) -> int:
    """What files take on a disk, which gives whole blocks."""
    return sum(-(-file.size_bytes // BLOCK_BYTES) * BLOCK_BYTES for file in files)


def admit(
    missing: Sequence[Wanted],
    kept: Sequence[Kept],
    *,
    key: str,
    source: str,
    limit_bytes: int,
    in_parts: bool,
) -> Admission:
    """How to bring data set ``key`` in, of which the files ``missing`` have no copy yet.

    What is kept afterwards takes at most ``limit_bytes``, or no more than before. A data set in
    use, or ``key`` itself, is never let go; none is without need, or for a set that does not fit.
    ``in_parts``: whether a part of the files is of any use; the first that fit are then taken.
    """
    room_bytes = limit_bytes - sum(one.size_bytes for one in kept)
    idle = sorted(
        (one for one in kept if not one.in_use and one.key != key),
        key=lambda one: (one.source != source, one.used_s, one.key),
    )
    evict: list[str] = []
    need_bytes = taken_bytes(missing)
    fits = need_bytes <= room_bytes + sum(one.size_bytes for one in idle)
    if not fits and not in_parts:
        return Admission((), (), whole=False)
    for one in idle:
        if need_bytes <= room_bytes:
            break
        room_bytes += one.size_bytes
        evict.append(one.key)
    if fits:
        return Admission(tuple(evict), tuple(missing), whole=True)
    chosen = _that_fit(missing, room_bytes)
    return Admission(tuple(evict) if chosen else (), tuple(chosen), whole=False)


def _that_fit(files: Iterable[Wanted], room_bytes: int) -> list[Wanted]:
    chosen = []
    for file in files:
        size_bytes = taken_bytes([file])
        if size_bytes <= room_bytes:
            room_bytes -= size_bytes
            chosen.append(file)
    return chosen


def window(coming: Sequence[Wanted], held: Sequence[Wanted], *, room_bytes: int) -> Window:
    """For files needed in the order ``coming``, each once, when ``held`` have copies.

    Copied are those that come next, as many in a row as fit in ``room_bytes``. Dropped is, as far
    as room is needed, what comes after them or not at all: the last by name first, since an order
    that starts anew begins with the first.
    """
    near: list[Wanted] = []
    left_bytes = room_bytes
    for file in coming:
        left_bytes -= taken_bytes([file])
        if left_bytes < 0:
            break
        near.append(file)
    names, have = {file.name for file in near}, {file.name for file in held}
    copy = tuple(file for file in near if file.name not in have)
    over_bytes = taken_bytes(held) + taken_bytes(copy) - room_bytes
    drop = []
    for file in sorted(held, reverse=True):
        if over_bytes <= 0:
            break
        if file.name not in names:
            over_bytes -= taken_bytes([file])
            drop.append(file.name)
    return Window(tuple(drop), copy)
