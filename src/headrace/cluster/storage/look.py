"""Look at a path: first what the kernel knows, then what the file system's own tools tell.

Whoever calls this can be held by a file system that hangs: ``probe`` does so from a child process.
"""

import ctypes
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from headrace.cluster.nodes.mounts import MountLine, mount_of, parse_mounts
from headrace.cluster.storage import beegfs, ceph, gluster, gpfs, lustre, quota
from headrace.cluster.storage.device import device_of
from headrace.cluster.storage.kinds import flock_mode, is_network, kind_of
from headrace.cluster.storage.questions import Questions
from headrace.cluster.storage.storage import Files, Storage, Target
from headrace.core.records import replace

_SAMPLE_FILES = 200
_SMALL_BYTES = 64 << 10
_BESIDE_META_BYTES = 64 << 10
"""Up to about this size some file systems keep bytes beside the metadata, without a block."""
_STATFS_BYTES = 256


def look(path: str, deadline_s: float) -> Iterator[Storage]:
    """What is known about ``path``, more and more: each answer replaces the one before.

    The path need not exist. Raise ``OSError`` where it may not be looked at.
    """
    basic = _basic(path)
    yield basic
    if basic.folder:
        files, empty = _sample(Path(basic.looked_at))
        basic = replace(basic, files=files, empty=empty)
        yield basic
    ask = Questions(deadline_s)
    full = _ASKED.get(basic.kind, _nothing)(basic, ask)
    if full.quota is None and full.kind not in ("tmpfs", "overlay"):
        told = ask("quota", "-w", "-p", "-f", full.mount, quiet=True)
        full = replace(full, quota=quota.parse_table(told))
    yield replace(full, unknown=tuple(ask.unanswered))


def statfs_magic(path: str) -> int | None:
    """f_type of statfs(2), 32 bits. It is the first word of the structure on 64-bit Linux."""
    answer = ctypes.create_string_buffer(_STATFS_BYTES)
    if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(path), answer) != 0:
        return None
    return int.from_bytes(answer.raw[:8], "little") & 0xFFFFFFFF


def _basic(path: str) -> Storage:
    there = Path(os.path.realpath(path))
    found = next(one for one in (there, *there.parents) if os.path.lexists(one))
    size = os.statvfs(found)  # first: it mounts what is mounted on demand
    text = Path("/proc/self/mounts").read_text(errors="replace")
    line = mount_of(str(found), parse_mounts(text)) or MountLine(
        source="", path="/", fstype="", options=()
    )
    magic = statfs_magic(str(found))
    kind = kind_of(line.fstype, magic)
    network = is_network(line.fstype, kind)
    folder = found.is_dir()
    known = os.stat(found)
    return Storage(
        path=path,
        looked_at=str(found),
        kind=kind,
        fstype=line.fstype,
        source=line.source,
        mount=line.path,
        options=line.options,
        network=network,
        folder=folder,
        magic=magic,
        size_bytes=size.f_blocks * size.f_frsize,
        free_bytes=size.f_bavail * size.f_frsize,
        inodes=size.f_files,
        inodes_free=size.f_favail,
        block_bytes=size.f_bsize,
        version=next((o.partition("=")[2] for o in line.options if o.startswith("vers=")), None),
        flock=flock_mode(kind, line.options, _beegfs_settings(line) if kind == "beegfs" else {}),
        device=None if network else device_of(Path("/"), known.st_dev, line.source),
        offline=not folder and known.st_size > _BESIDE_META_BYTES and known.st_blocks == 0,
    )


def _sample(folder: Path) -> tuple[Files | None, bool | None]:
    """The first files, and whether the folder is empty; None where it may not be listed."""
    sizes, bare = [], 0
    try:
        with os.scandir(folder) as entries:
            listed = list(islice(entries, _SAMPLE_FILES + 1))
    except OSError:
        return None, None
    for entry in listed[:_SAMPLE_FILES]:
        with suppress(OSError):
            if entry.is_file(follow_symlinks=False):
                known = entry.stat(follow_symlinks=False)
                sizes.append(known.st_size)
                bare += known.st_size > _BESIDE_META_BYTES and known.st_blocks == 0
    files = Files(
        count=len(sizes),
        size_bytes=sum(sizes),
        small=sum(size < _SMALL_BYTES for size in sizes),
        without_blocks=bare,
        more=len(listed) > _SAMPLE_FILES,
    )
    return files, not listed


def _nothing(storage: Storage, ask: Questions) -> Storage:
    return storage


def _lustre(storage: Storage, ask: Questions) -> Storage:
    here, mount = storage.looked_at, storage.mount
    default = ("-d",) if storage.folder else ()
    layout = lustre.parse_getstripe(ask("lfs", "getstripe", *default, here), default=storage.folder)
    targets = lustre.parse_df(ask("lfs", "df", mount))
    inodes = lustre.parse_df_inodes(ask("lfs", "df", "-i", mount, quiet=not targets))
    return replace(
        storage,
        layout=layout,
        targets=tuple(_with_inodes(target, inodes) for target in targets),
        pools=lustre.parse_pools(ask("lfs", "pool_list", mount, quiet=True)),
        rpcs_in_flight=lustre.parse_rpcs(
            ask("lctl", "get_param", "-n", "osc.*.max_rpcs_in_flight", quiet=True)
        ),
        version=lustre.parse_version(ask("lfs", "--version", quiet=True)),
        quota=quota.parse_table(ask("lfs", "quota", "-u", str(os.getuid()), mount, quiet=True)),
    )


def _with_inodes(target: Target, inodes: dict[tuple[str, int], tuple[int, int]]) -> Target:
    found = inodes.get((target.kind, target.index))
    return target if found is None else replace(target, inodes=found[0], inodes_free=found[1])


def _beegfs(storage: Storage, ask: Questions) -> Storage:
    layout = None
    for tool, command in beegfs.entry_commands(storage.looked_at).items():
        layout = layout or beegfs.parse_entry(ask(*command), tool)
    if layout is not None:
        ask.unanswered.clear()
    return replace(storage, layout=layout, targets=beegfs.parse_df(ask("beegfs-df", quiet=True)))


def _beegfs_settings(line: MountLine) -> dict[str, str]:
    """The client's: what it runs with, else its file."""
    config = next((o.partition("=")[2] for o in line.options if o.startswith("cfgFile=")), "")
    for file in (*sorted(Path("/proc/fs/beegfs").glob("*/config")), Path(config or "/dev/null")):
        with suppress(OSError):
            return beegfs.parse_settings(file.read_text(errors="replace"))
    return {}


def _gpfs(storage: Storage, ask: Questions) -> Storage:
    device = storage.source.removeprefix("/dev/")
    told = ask("mmlsfs", device, "-Y", quiet=True) or ask("mmlsfs", device)
    system = gpfs.parse_mmlsfs(told)
    attributes = "" if storage.folder else ask("mmlsattr", "-L", storage.looked_at)
    user = os.getuid()
    return replace(
        storage,
        block_bytes=system.block_bytes or storage.block_bytes,
        subblock_bytes=system.subblock_bytes,
        version=system.version,
        offline=storage.offline or gpfs.is_offline(attributes),
        quota=quota.parse_mmlsquota(
            ask("mmlsquota", "-Y", "-u", str(user), device, quiet=True), user
        ),
    )


def _gluster(storage: Storage, ask: Questions) -> Storage:
    root = Path(storage.mount)
    try:
        text = (root / gluster.VOLFILE).read_text(errors="replace")
    except OSError as error:
        ask.unanswered.append(f"{gluster.VOLFILE}: {error.strerror}")
        return storage
    up: dict[str, bool | None] = {}
    for client in gluster.clients(text):
        with suppress(OSError):
            up[client] = gluster.parse_connected((root / gluster.private(client)).read_text())
    version = None
    with suppress(OSError, ValueError, AttributeError):
        version = json.loads((root / ".meta/version").read_text()).get("Package Version")
    return replace(
        storage,
        volume=gluster.parse_volfile(text, storage.source, up),
        version=version if isinstance(version, str) else None,
    )


def _ceph(storage: Storage, ask: Questions) -> Storage:
    name = ceph.FOLDER_LAYOUT if storage.folder else ceph.FILE_LAYOUT
    told = _attribute(storage.looked_at, name)
    return replace(storage, layout=ceph.parse_layout(told, default=storage.folder))


def _attribute(path: str, name: str) -> str:
    try:
        return os.getxattr(path, name).decode(errors="replace")
    except OSError:
        return ""


_ASKED: dict[str, Callable[[Storage, Questions], Storage]] = {
    "lustre": _lustre,
    "beegfs": _beegfs,
    "gpfs": _gpfs,
    "gluster": _gluster,
    "ceph": _ceph,
}
