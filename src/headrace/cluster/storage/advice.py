"""What follows from the facts about a path, in words. Pure.

Each rule looks at one thing and yields what a person should do or know. Limits and reasons:
docs/reference/storage.md.
"""

import shlex
from collections.abc import Iterator, Sequence
from enum import StrEnum

from headrace.cluster.storage.durability import weakness
from headrace.cluster.storage.kinds import NAMES
from headrace.cluster.storage.layouts import Proposal, Purpose, Use, propose
from headrace.cluster.storage.sizes import format_size
from headrace.cluster.storage.storage import Storage, Target
from headrace.core.records import Record

_FULL_RATIO = 0.05
_INODES_RATIO = 0.02
_META_RATIO = 0.20
_QUOTA_RATIO = 0.90
_SMALL_FILES_MIN = 50
_READ_BYTES = 1 << 20
_SLOW_MMAP = ("lustre", "beegfs", "gpfs", "nfs", "gluster", "weka", "panfs", "9p", "orangefs")


class Level(StrEnum):
    """ACT: something is wrong or slow and can be mended. KNOW: good to know."""

    ACT = "act"
    KNOW = "know"


class Advice(Record, frozen=True, kw_only=True):
    """``text`` and ``remedy`` are sentences or commands."""

    topic: str
    level: Level
    text: str
    remedy: str


def advise(storage: Storage, uses: Sequence[Use]) -> tuple[Advice, ...]:
    """What to do comes first. ``uses``: what the folder is, or might be, for."""
    if not storage.answers:
        text = f"{NAMES.get(storage.kind, storage.kind)} at {storage.mount} does not answer."
        return (_act("hangs", text, "ask who runs it; keep runs elsewhere: set HEADRACE_RUNS"),)
    found = [advice for rule in _RULES for advice in rule(storage, uses)]
    return tuple(sorted(found, key=lambda one: one.level is not Level.ACT))


def _act(topic: str, text: str, remedy: str) -> Advice:
    return Advice(topic=topic, level=Level.ACT, text=text, remedy=remedy)


def _know(topic: str, text: str, remedy: str) -> Advice:
    return Advice(topic=topic, level=Level.KNOW, text=text, remedy=remedy)


def _is_for(uses: Sequence[Use], purpose: Purpose) -> bool:
    return any(use.purpose is purpose for use in uses)


def _layout(storage: Storage, uses: Sequence[Use]) -> Iterator[Advice]:
    for proposal in filter(None, (propose(storage, use) for use in uses)):
        yield layout_advice(proposal)


def layout_advice(proposal: Proposal) -> Advice:
    text = f"For {proposal.purpose} files another layout is faster: {proposal.why}."
    return _act("layout", text, shlex.join(proposal.command))


def _weak(storage: Storage, uses: Sequence[Use]) -> Iterator[Advice]:
    why = weakness(storage.kind, storage.fstype, storage.options)
    if why is None:
        return
    remedy = (
        "bind a folder of the host into the container, and write there"
        if storage.kind == "overlay"
        else "keep checkpoints on a disk or a parallel file system; data may be read from here"
    )
    make = _act if _is_for(uses, Purpose.CHECKPOINT) else _know
    yield make("durability", f"A checkpoint is not safe here: {why}.", remedy)


def _room(storage: Storage, uses: Sequence[Use]) -> Iterator[Advice]:
    size, free = storage.size_bytes, storage.free_bytes
    if size and free is not None and free < _FULL_RATIO * size:
        text = f"It is nearly full: {format_size(free)} of {format_size(size)} are free."
        yield _act("room", text, "remove what is not needed; full disks are slow, too")
    if storage.inodes and (storage.inodes_free or 0) < _INODES_RATIO * storage.inodes:
        text = f"Few files more fit: {storage.inodes_free:,} of {storage.inodes:,} inodes are free."
        yield _act("inodes", text, "pack small files into few large ones: headrace data pack")
    yield from _targets(storage)
    quota = storage.quota
    limit = None if quota is None else quota.hard_bytes or quota.soft_bytes
    if quota is not None and limit and quota.used_bytes > _QUOTA_RATIO * limit:
        text = f"You use {format_size(quota.used_bytes)} of your {format_size(limit)}."
        yield _act("quota", text, "remove old runs and checkpoints, or ask for more")


def _targets(storage: Storage) -> Iterator[Advice]:
    """A file fails when one of its targets is full, however much room the others have."""
    full = [one for one in storage.osts if _nearly_full(one, _FULL_RATIO)]
    if full:
        names = ", ".join(one.name for one in full[:4]) + (" ..." if len(full) > 4 else "")
        yield _act(
            "full targets",
            f"{len(full)} of {len(storage.osts)} targets are nearly full: {names}.",
            "files that lie on them cannot grow; new files should use a pool without them",
        )
    out = [one.name for one in storage.targets if not one.active]
    if out:
        yield _act(
            "targets out of use",
            f"{', '.join(out[:4])}{' ...' if len(out) > 4 else ''}: no answer.",
            "files on them hang or fail when read: tell who runs the file system",
        )
    for one in storage.targets:
        if one.kind == "mdt" and one.inodes and (one.inodes_free or 0) < _INODES_RATIO * one.inodes:
            text = f"{one.name} has {one.inodes_free:,} of {one.inodes:,} inodes left."
            yield _act("inodes", text, "pack small files into few large ones: headrace data pack")


def _nearly_full(target: Target, ratio: float) -> bool:
    size, free = target.size_bytes, target.free_bytes
    return bool(size) and free is not None and free < ratio * (size or 0)


def _small_files(storage: Storage, uses: Sequence[Use]) -> Iterator[Advice]:
    files = storage.files
    if files is None or not storage.network or files.small < _SMALL_FILES_MIN:
        return
    if files.small * 2 > files.count:
        yield _act(
            "small files",
            f"{files.small} of the first {files.count} files are smaller than 64 KiB: each costs a "
            "lock and a question to the servers.",
            "pack them into one file, which is read at full speed: headrace data pack",
        )


def _offline(storage: Storage, uses: Sequence[Use]) -> Iterator[Advice]:
    bare = storage.files.without_blocks if storage.files else 0
    if storage.offline:
        text = "The file's bytes are on tape or in a cloud: the first read may take hours."
        yield _act("offline", text, f"bring it back first: {_recall(storage)}")
    elif bare and storage.network:
        text = f"{bare} files have a size but no byte on disk: sparse, or moved to tape or a cloud."
        yield _act("offline", text, f"if moved, bring them back first: {_recall(storage)}")


def _recall(storage: Storage) -> str:
    if storage.kind == "lustre":
        return "lfs hsm_restore FILE"
    return "dsmrecall FILE, or ask who runs the archive"


def _flock(storage: Storage, uses: Sequence[Use]) -> Iterator[Advice]:
    if not storage.network or storage.flock not in ("localflock", "noflock"):
        return
    text = (
        "flock fails here with an error."
        if storage.flock == "noflock"
        else "flock holds on this node alone: two nodes may hold the same lock."
    )
    yield _know(
        "flock",
        text,
        "Headrace uses rename instead; keep caches of programs that lock (HF_HOME) on a local disk",
    )


def _mmap(storage: Storage, uses: Sequence[Use]) -> Iterator[Advice]:
    if _is_for(uses, Purpose.DATA) and storage.kind in _SLOW_MMAP:
        yield _know(
            "mmap",
            "mmap reads a page at a time here and stalls the program at each.",
            f"read with pread, {format_size(_READ_BYTES)} or more at once, as Headrace's data does",
        )


def _gpfs(storage: Storage, uses: Sequence[Use]) -> Iterator[Advice]:
    if storage.kind != "gpfs" or not storage.block_bytes:
        return
    block = format_size(storage.block_bytes)
    yield _know(
        "blocks",
        f"Blocks are {block}, fixed when the file system was made; two writers in one block wait "
        "for each other.",
        f"one file a rank, written in multiples of {block}; there is no layout to set",
    )
    if storage.subblock_bytes and storage.subblock_bytes >= 32 << 10:
        text = f"The smallest file takes {format_size(storage.subblock_bytes)}."
        yield _know("small files", text, "pack small files: headrace data pack")


def _data_on_mdt(storage: Storage, uses: Sequence[Use]) -> Iterator[Advice]:
    if storage.layout is None or not any(p.pattern == "mdt" for p in storage.layout.components):
        return
    metas = [one for one in storage.targets if one.kind == "mdt" and _nearly_full(one, _META_RATIO)]
    if metas:
        yield _act(
            "data on metadata servers",
            f"New files begin on metadata servers, and {metas[0].name} is nearly full.",
            f"for large files leave it out: lfs setstripe -c 1 {storage.looked_at}",
        )


def _nfs(storage: Storage, uses: Sequence[Use]) -> Iterator[Advice]:
    if storage.kind != "nfs":
        return
    options = dict(option.partition("=")[::2] for option in storage.options)
    if "noac" in options:
        text = "It is mounted noac: each look at a file asks the server."
        yield _act("attribute cache", text, "mount it without noac: Headrace does not need it")
    else:
        seconds = options.get("acdirmax", options.get("actimeo", "60"))
        text = f"A new file may be seen on another node up to {seconds} s later."
        yield _know(
            "attribute cache", text, "Headrace does not rely on it; your scripts should not"
        )
    if options.get("rsize", "").isdigit() and int(options["rsize"]) < _READ_BYTES:
        text = f"Reads go in pieces of {format_size(int(options['rsize']))}."
        yield _know("rsize", text, "mount it with rsize=1048576,wsize=1048576")


def _gluster(storage: Storage, uses: Sequence[Use]) -> Iterator[Advice]:
    volume = storage.volume
    if volume is None:
        return
    down = [f"{one.host}:{one.path}" for one in volume.bricks if one.up is False]
    spare = volume.redundancy or volume.replica - 1
    if down:
        lost = "what lies on it cannot be read" if spare == 0 else "fewer copies are written now"
        text = f"{len(down)} of {len(volume.bricks)} bricks do not answer: {', '.join(down)}."
        remedy = f"{lost}: bring it back, then: gluster volume heal {volume.name} info"
        yield _act("bricks", text, remedy)
    if spare == 0:
        text = "The volume has no copies: a lost brick is lost data."
        yield _know("copies", text, "keep checkpoints on a volume with copies")
    elif volume.replica == 2:
        text = "Two copies may come to differ when the bricks do not see each other."
        yield _know("copies", text, "three copies, or an arbiter, do not")
    elif volume.replica > 2:
        text = (
            f"A client sends each byte {volume.replica} times: it writes at 1/{volume.replica} of "
        )
        yield _know("copies", f"{text}its link's speed.", "reckon with it in the time of a save")


def _disk(storage: Storage, uses: Sequence[Use]) -> Iterator[Advice]:
    disk = storage.device
    if disk is not None and disk.rotating and _is_for(uses, Purpose.DATA):
        yield _know(
            "disk",
            f"{disk.name} says that it rotates (virtual disks often do): reads at random would be "
            "slow.",
            "measure it: headrace storage PATH --bench",
        )


_RULES = (
    _layout,
    _weak,
    _room,
    _small_files,
    _offline,
    _flock,
    _mmap,
    _gpfs,
    _data_on_mdt,
    _nfs,
    _gluster,
    _disk,
)
