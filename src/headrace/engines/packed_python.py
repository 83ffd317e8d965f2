"""The Python environment of a run, packed into one file when the run is submitted.

Thousands of small files on a parallel file system are slow to import from, and slow for all others
meanwhile; one large file is neither. ``launch.near_python`` unpacks it on each node.

::

    <runs>/.python/                0700
      <digest>.tar                 one state of one environment; as it was, __pycache__ included
      claim-<n>                    who packs (``data.cache.owner``)

The digest is of names, sizes, times of change and link targets, so an environment that has not
changed is packed once. What Python writes into ``__pycache__`` by itself does not count.
"""

import contextlib
import errno
import os
import re
import shutil
import stat
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import xxhash

from headrace.core.errors import Refused
from headrace.core.order import PythonPlace
from headrace.data.cache.admission import Wanted, taken_bytes
from headrace.data.cache.owner import owned, this_process

if TYPE_CHECKING:
    from headrace.spec.job import JobSpec

KEPT_S = 14 * 86400.0
"""An archive that nothing has used for so long makes room for a new one."""

_IN_BIN = re.compile(r"[^\s'\"=;&|(){}<>:]+(?=/bin/)")
_OTHERS = ("envs", "pkgs")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_GIB = 1 << 30
_BUFFER_BYTES = 4 << 20


class NoEnvironment(Refused):
    """``stage_python``, but the program's Python is no environment that can be copied."""

    code = "HR-ENGINE-005"

    def __init__(self, python: str | None) -> None:
        found = "there is no python on PATH" if python is None else f"python is {python}"
        super().__init__(
            "stage_python: there is no Python environment to copy",
            why=f"{found}, which belongs to no venv and no conda environment, and the command "
            "names none",
            remedy="activate it before you submit, or name it: run: .venv/bin/python train.py",
        )


class NotPacked(Refused):
    """The archive of an environment could not be made."""

    code = "HR-ENGINE-006"

    def __init__(self, prefix: str, why: str) -> None:
        super().__init__(
            f"stage_python: {prefix} could not be packed",
            why=why,
            remedy="mend that and submit again, or leave stage_python out",
        )


class Environment(NamedTuple):
    """``named``: as the command has it; None where it is the one on PATH."""

    prefix: str
    named: str | None


def pack(spec: "JobSpec", tier: str, environ: Mapping[str, str], runs: Path) -> PythonPlace:
    """For nodes to unpack to ``tier``. Raise ``NoEnvironment``, ``NotPacked``."""
    prefix, named = find(spec, environ)
    real, folder = os.path.realpath(prefix), runs / ".python"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with owned(folder, this_process("a submission")):
            digest, size_bytes = _state(real)
            archive = folder / f"{digest}.tar"
            if archive.exists():
                os.utime(archive)
            else:
                _sweep(folder, now_s=time.time())
                _write(real, archive, digest, size_bytes)
    except OSError as error:
        full = "the file system of your runs has no room for it: " if error.errno in _FULL else ""
        raise NotPacked(prefix, f"{full}{error}") from error
    return PythonPlace(
        names=tuple(dict.fromkeys(name for name in (prefix, real, named) if name)),
        archive=str(archive),
        size_bytes=size_bytes,
        tier=tier,
    )


def find(spec: "JobSpec", environ: Mapping[str, str]) -> Environment:
    """The one that the command names, as in ``.venv/bin/torchrun``, else the one that ``python``
    on PATH belongs to. Raise ``NoEnvironment``."""
    for word in spec.argv:
        for match in _IN_BIN.finditer(word):
            prefix = os.path.abspath(spec.workdir / os.path.expanduser(match[0]))
            if _can_move(prefix):
                return Environment(prefix, match[0])
    path = {**environ, **spec.env}.get("PATH", os.defpath)
    python = shutil.which("python", path=path) or shutil.which("python3", path=path)
    if python is not None and _can_move(prefix := os.path.dirname(os.path.dirname(python))):
        return Environment(os.path.abspath(prefix), None)
    raise NoEnvironment(python)


def _can_move(prefix: str) -> bool:
    """A venv looks for its Python by pyvenv.cfg, that of conda for its library beside itself."""
    return any(os.path.exists(os.path.join(prefix, one)) for one in ("pyvenv.cfg", "conda-meta"))


def _state(prefix: str) -> tuple[str, int]:
    """Digest, and how many bytes a copy takes on a disk."""
    digest, files = xxhash.xxh3_128(os.fsencode(prefix)), list[Wanted]()
    for name, found in _entries(prefix):
        files.append(Wanted(name, max(1, found.st_size)))
        if stat.S_ISDIR(found.st_mode) or "__pycache__" in name:
            continue
        link = os.readlink(os.path.join(prefix, name)) if stat.S_ISLNK(found.st_mode) else ""
        fields = (name, link, str(found.st_size), str(found.st_mtime_ns), oct(found.st_mode))
        digest.update(b"\0".join(map(os.fsencode, fields)) + b"\n")
    return digest.hexdigest(), taken_bytes(files)


def _entries(prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    """Folders, files and links below ``prefix`` in a fixed order; links are not followed. Conda's
    first environment holds all others, and all packages once more: they stay where they are."""
    others = _OTHERS if os.path.exists(os.path.join(prefix, "conda-meta")) else ()
    for folder, folders, files in os.walk(prefix, onerror=_raise):
        if folder == prefix:
            folders[:] = set(folders).difference(others)
        folders.sort()
        for name in sorted([*folders, *files]):
            path = os.path.join(folder, name)
            found = os.lstat(path)
            if stat.S_IFMT(found.st_mode) in (stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK):
                yield os.path.relpath(path, prefix), found


def _raise(error: OSError) -> None:
    raise error


def _sweep(folder: Path, *, now_s: float) -> None:
    for part in folder.glob("*.part"):
        part.unlink()
    for old in folder.glob("*.tar"):
        if now_s - old.stat().st_mtime > KEPT_S:
            old.unlink()


def _write(prefix: str, archive: Path, digest: str, size_bytes: int) -> None:
    """It appears whole, or not at all. Raise ``OSError``, ``NotPacked``."""
    room = os.statvfs(archive.parent)
    if room.f_bavail * room.f_frsize < size_bytes:
        raise OSError(errno.ENOSPC, f"it takes {size_bytes / _GIB:.2f} GiB")
    part = archive.with_suffix(".part")
    try:
        with part.open("wb", _BUFFER_BYTES) as file, tarfile.open(fileobj=file, mode="w") as tar:
            for name, _ in _entries(prefix):
                tar.add(os.path.join(prefix, name), name, recursive=False, filter=_plain)
        if _state(prefix)[0] != digest:
            raise NotPacked(prefix, "it changed meanwhile")
        with part.open("rb") as whole:
            os.fsync(whole)
        part.rename(archive)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Ours to read and delete; times in the seconds that .pyc files compare."""
    member.mode |= 0o700 if member.isdir() else 0o600
    member.mtime = int(member.mtime)
    member.uid, member.gid, member.uname, member.gname = 0, 0, "", ""
    return member
