"""Which layout a folder should have, and the command that sets it. Pure.

A file is spread over as many targets as it needs to be fast and no more: each target costs a lock
and a look at its size (about 10 us), and a client has 8 requests in flight at each.
"""

from collections.abc import Iterator
from enum import StrEnum

from headrace.cluster.storage.sizes import format_size
from headrace.cluster.storage.storage import Component, Layout, Storage
from headrace.core.records import Record, replace

_KIB, _MIB, _GIB = 1 << 10, 1 << 20, 1 << 30
CHECKPOINT_FILE_BYTES = 4 * _GIB
"""The most that a shard of a checkpoint holds."""
SMALL_FILE_BYTES = 64 * _KIB
"""Up to here a file beside its metadata is read faster than from a target; above, no gain."""
_ONE_TARGET_BYTES = 256 * _MIB
_SHARE_BYTES = _GIB
_PIECE_BYTES, _SMALL_PIECE_BYTES = 4 * _MIB, _MIB
_TARGETS_MAX = 64
_FULL_RATIO = 0.10
_META_FREE_RATIO = 0.20
_GROWING = ((64 * _MIB, 1), (4 * _GIB, 4), (None, 32))
"""(end, targets) of a file of unknown size: few for its beginning, more as it grows."""


class Purpose(StrEnum):
    """CHECKPOINT: each rank writes a large file of its own at once. DATA: all read, at random."""

    CHECKPOINT = "checkpoint"
    DATA = "data"


class Use(Record, frozen=True, kw_only=True):
    """What the folder is for. ``file_bytes``: of a usual file, None if not known. ``ranks``: how
    many write, or read, at once."""

    purpose: Purpose
    file_bytes: int | None = None
    ranks: int = 1


class Proposal(Record, frozen=True, kw_only=True):
    """A layout for new files of the folder, why, and the command that sets it."""

    purpose: Purpose
    layout: Layout
    command: tuple[str, ...]
    why: str


def propose(storage: Storage, use: Use) -> Proposal | None:
    """None where nothing can be set, not enough is known, or it is so already."""
    if not storage.folder or not storage.answers:
        return None
    targets = usable_targets(storage)
    if targets == 0:
        return None
    tool = "lfs" if storage.kind == "lustre" else storage.layout.tool if storage.layout else ""
    if tool not in _COMMANDS:
        return None
    parts, why = _parts(storage, use, targets)
    layout = Layout(components=parts, default=True, tool=tool)
    if storage.layout is not None and same_spread(_counted(storage.layout, targets), layout):
        return None
    return Proposal(
        purpose=use.purpose,
        layout=layout,
        command=tuple(_COMMANDS[tool](parts, storage.looked_at)),
        why=why,
    )


def usable_targets(storage: Storage) -> int:
    """Targets that take data and are not nearly full; all when all are."""
    roomy = [
        one
        for one in storage.osts
        if not one.size_bytes
        or one.free_bytes is None
        or one.free_bytes > _FULL_RATIO * one.size_bytes
    ]
    return len(roomy) or len(storage.osts)


def same_spread(one: Layout, other: Layout) -> bool:
    """Whether both spread files in the same way; pools, mirrors and targets are not compared."""
    return list(map(_spread, one.components)) == list(map(_spread, other.components))


def _spread(part: Component) -> tuple[int | None, int, int, bool]:
    if part.pattern == "mdt":
        return part.end_bytes, 0, 0, True
    return part.end_bytes, part.count, part.size_bytes, False


def _counted(layout: Layout, targets: int) -> Layout:
    """With the number of targets where it says "all"."""
    parts = (replace(part, count=targets) if part.count < 0 else part for part in layout.components)
    return replace(layout, components=tuple(parts))


def _has_parts(storage: Storage, since: tuple[int, int]) -> bool:
    """Lustre has files of several parts since 2.10, parts on metadata servers since 2.11."""
    numbers = (storage.version or "9.9").split(".")[:2]
    return storage.kind == "lustre" and tuple(int(n) for n in numbers if n.isdigit()) >= since


def _parts(storage: Storage, use: Use, targets: int) -> tuple[tuple[Component, ...], str]:
    if use.purpose is Purpose.CHECKPOINT:
        size_bytes = use.file_bytes or CHECKPOINT_FILE_BYTES
        count = min(-(-targets // use.ranks), max(1, size_bytes // _ONE_TARGET_BYTES))
        return (_part(_within(count, targets), size_bytes),), (
            f"{use.ranks} ranks write files of {format_size(size_bytes)} at once over {targets} "
            "targets: each target is used once or more, and none holds less than "
            f"{format_size(_ONE_TARGET_BYTES)} of a file"
        )
    known_bytes = use.file_bytes or _usual_file(storage)
    if known_bytes is None and _has_parts(storage, (2, 10)):
        why = "the size of files is not known: a file is spread as it grows"
        return tuple(_growing(targets)), why
    size_bytes = known_bytes or CHECKPOINT_FILE_BYTES
    beside_meta = _has_parts(storage, (2, 11)) and _meta_has_room(storage)
    if size_bytes <= SMALL_FILE_BYTES and beside_meta:
        beside = Component(
            end_bytes=SMALL_FILE_BYTES, count=0, size_bytes=SMALL_FILE_BYTES, pattern="mdt"
        )
        return (beside, _part(1, size_bytes, start_bytes=SMALL_FILE_BYTES)), (
            "files this small are read faster beside their metadata than from a target"
        )
    count = _within(min(size_bytes // _SHARE_BYTES, _TARGETS_MAX), targets)
    return (_part(count, size_bytes),), (
        f"all ranks read files of {format_size(size_bytes)} at random: a target for each GiB"
        if count > 1
        else f"a file of {format_size(size_bytes)} is read faster from one target than from several"
    )


def _part(count: int, file_bytes: int, *, start_bytes: int = 0) -> Component:
    piece = _PIECE_BYTES if file_bytes >= _ONE_TARGET_BYTES else _SMALL_PIECE_BYTES
    return Component(start_bytes=start_bytes, count=count, size_bytes=piece)


def _growing(targets: int) -> Iterator[Component]:
    start_bytes = 0
    for end_bytes, wanted in _GROWING:
        count = min(wanted, targets)
        if end_bytes is not None and count == targets:
            continue
        piece = _SMALL_PIECE_BYTES if start_bytes == 0 and end_bytes else _PIECE_BYTES
        yield Component(start_bytes=start_bytes, end_bytes=end_bytes, count=count, size_bytes=piece)
        start_bytes = end_bytes or 0


def _within(count: int, targets: int) -> int:
    return max(1, min(count, targets))


def _usual_file(storage: Storage) -> int | None:
    files = storage.files
    return max(1, files.size_bytes // files.count) if files and files.count else None


def _meta_has_room(storage: Storage) -> bool:
    metas = [one for one in storage.targets if one.kind == "mdt" and one.active]
    return bool(metas) and all(
        one.size_bytes and (one.free_bytes or 0) > _META_FREE_RATIO * one.size_bytes
        for one in metas
    )


def lfs_size(size_bytes: int) -> str:
    """ "64k", "4M", "4G": exact."""
    for suffix, scale in (("G", _GIB), ("M", _MIB), ("k", _KIB)):
        if size_bytes % scale == 0:
            return f"{size_bytes // scale}{suffix}"
    return str(size_bytes)


def lfs_options(parts: tuple[Component, ...]) -> list[str]:
    """Of ``lfs setstripe`` and ``lfs migrate``; a part of several ends with -E."""
    words: list[str] = []
    for part in parts:
        if len(parts) > 1:
            words += ["-E", "-1" if part.end_bytes is None else lfs_size(part.end_bytes)]
        if part.pattern == "mdt":
            words += ["-L", "mdt"]
        else:
            words += ["-c", str(part.count), "-S", lfs_size(part.size_bytes)]
    return words


def _lfs(parts: tuple[Component, ...], folder: str) -> list[str]:
    return ["lfs", "setstripe", *lfs_options(parts), folder]


def _beegfs_ctl(parts: tuple[Component, ...], folder: str) -> list[str]:
    count, size = parts[-1].count, lfs_size(parts[-1].size_bytes)
    return ["beegfs-ctl", "--setpattern", f"--numtargets={count}", f"--chunksize={size}", folder]


def _beegfs(parts: tuple[Component, ...], folder: str) -> list[str]:
    count, size_bytes = parts[-1].count, parts[-1].size_bytes
    size = f"--chunk-size={size_bytes // _MIB}MiB"
    return ["beegfs", "entry", "set", f"--num-targets={count}", size, folder]


_COMMANDS = {"lfs": _lfs, "beegfs-ctl": _beegfs_ctl, "beegfs": _beegfs}
