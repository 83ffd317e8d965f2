"""Mounted file systems: which kinds hold files, which reach over a network, how full they are."""

import os
import re
import time
from pathlib import Path

from headrace.cluster.nodes.node import Mount
from headrace.core.bounded import bounded
from headrace.core.records import Record

NETWORK = frozenset(
    (
        *("nfs", "nfs4", "lustre", "beegfs", "gpfs", "ceph", "wekafs", "panfs", "dvs"),
        *("cifs", "smb3", "glusterfs", "fuse.glusterfs", "fuse.sshfs", "fuse.juicefs"),
        *("orangefs", "pvfs2", "afs", "9p", "mmfs", "lustre_lite", "fuse.ceph"),
        *("fuse.ceph-fuse", "fuse.dfuse"),
    )
)
_LOCAL = frozenset(
    (
        *("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs"),
        *("tmpfs", "overlay", "virtiofs"),
    )
)
_NETWORK_S, _LEAST_S = 3.0, 0.2
_TMPFS = ("/dev/shm", "/tmp", "/var/tmp", "/")


class MountLine(Record, frozen=True, kw_only=True):
    """One line of /proc/PID/mounts."""

    source: str
    path: str
    fstype: str
    options: tuple[str, ...] = ()


def parse_mounts(text: str) -> list[MountLine]:
    """Lines of fstab(5) form, octal escapes undone; the last mount on a path wins."""
    found: dict[str, MountLine] = {}
    for line in text.splitlines():
        fields = [_unescape(field) for field in line.split(" ")]
        if len(fields) >= 3:
            source, path, fstype, *rest = fields
            options = tuple(rest[0].split(",")) if rest and rest[0] else ()
            found.pop(path, None)
            found[path] = MountLine(source=source, path=path, fstype=fstype, options=options)
    return list(found.values())


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


def mount_of(path: str, mounts: list[MountLine]) -> MountLine | None:
    """The mount that holds the absolute ``path``."""
    holding = [
        mount
        for mount in mounts
        if path == mount.path or path.startswith(mount.path.rstrip("/") + "/")
    ]
    return max(holding, key=lambda mount: len(mount.path), default=None)


def read_mounts(root: Path) -> tuple[Mount, ...]:
    """File systems of known kinds below ``root``, each source once, the system's own left out.

    One that reaches over a network is asked by a child process, so that a server that does not
    answer holds nobody; all of them together have ``_NETWORK_S``.
    """
    try:
        lines = parse_mounts((root / "proc/self/mounts").read_text())
    except OSError:
        return ()
    found: dict[tuple[str, str], Mount] = {}
    until_s = time.monotonic() + _NETWORK_S
    for line in lines:
        if line.fstype not in NETWORK | _LOCAL or line.path.startswith(("/sys", "/proc", "/run/")):
            continue
        if line.fstype == "tmpfs" and line.path not in _TMPFS:
            continue
        key = (line.source, line.path if line.fstype in ("tmpfs", "overlay") else "")
        far = line.fstype in NETWORK and root == Path("/")
        mount = _asked(line, until_s - time.monotonic()) if far else _measured(root, line)
        if mount is not None and (key not in found or len(line.path) < len(found[key].path)):
            found[key] = mount
    return tuple(sorted(found.values(), key=lambda mount: mount.path))


def _asked(line: MountLine, left_s: float) -> Mount | None:
    """Its size as stat(1) tells it; None where that fails, ``answers`` False where it hangs."""
    command = ["stat", "--file-system", "--format=%S %b %a %c %d", "--", line.path]
    try:
        told, _, status = bounded(command, max(_LEAST_S, left_s), {**os.environ, "LC_ALL": "C"})
    except OSError:
        return None
    numbers = told.split()
    if status is not None and (status != 0 or len(numbers) != 5 or numbers[1] == b"0"):
        return None
    unit, blocks, free, inodes, inodes_free = map(int, numbers) if status == 0 else (0,) * 5
    return Mount(
        path=line.path,
        source=line.source,
        fstype=line.fstype,
        size_bytes=blocks * unit,
        free_bytes=free * unit,
        inodes=inodes,
        inodes_free=inodes_free,
        nvme=False,
        answers=status is not None,
    )


def _measured(root: Path, line: MountLine) -> Mount | None:
    try:
        size = os.statvfs(root / line.path.lstrip("/"))
    except OSError:
        return None
    if size.f_blocks == 0 or not os.path.isdir(root / line.path.lstrip("/")):
        return None
    return Mount(
        path=line.path,
        source=line.source,
        fstype=line.fstype,
        size_bytes=size.f_blocks * size.f_frsize,
        free_bytes=size.f_bavail * size.f_frsize,
        inodes=size.f_files,
        inodes_free=size.f_favail,
        nvme=Path(line.source).name.startswith("nvme"),
    )
