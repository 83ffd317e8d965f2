"""The process that unpacks a run's Python environment on a node, before ranks start.

``python -m headrace.launch.near_python RUN_DIR NODE``, a child of the node's agent. Trouble is no
error: it says why, and ranks import from the environment itself. In the folder that also holds
copies of data (``data.cache.folder``)::

    headrace-cache-<uid>/python/
      claim-<n>                    who may write here (``data.cache.owner``)
      .new, .old                   in the making, and going; swept by the next owner
      <digest>.<boot>/             one state of one environment; appears whole
        copy.json                  of what it is a copy; its time of change is its last use
        tree/                      the environment
        users/<run>.<node>.json    agents of runs that import from it

A copy counts for the boot that it was made in: it is not flushed to the disk, which takes long.
"""

import contextlib
import os
import re
import shutil
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from headrace.core.errors import HeadraceError
from headrace.core.order import DataPlace, Order, PythonPlace
from headrace.core.process import boot_id, identify
from headrace.core.records import DecodeError, Record, encode, read_record, write_record
from headrace.core.rundir import RunDir
from headrace.data.cache import limit
from headrace.data.cache.admission import Kept, Wanted, admit
from headrace.data.cache.errors import CacheRefused
from headrace.data.cache.folder import open_folder, user_file
from headrace.data.cache.owner import Holder, holder, lives, owned, this_process
from headrace.data.cache.stage import Progress
from headrace.data.cache.stage import Staged as Near
from headrace.launch.rank import CHANNEL_VARIABLE
from headrace.launch.staging import Teller

_SCRIPT_MAX_BYTES, _SHEBANG_MAX_BYTES = 1 << 20, 127
_BUFFER_BYTES = 4 << 20
_GIB = 1 << 30


class Copy(Record, frozen=True, kw_only=True):
    """``source``: the environment."""

    source: str
    size_bytes: int


def bring(
    place: PythonPlace, user: Holder, node: str, say: Callable[[Progress], None]
) -> tuple[Path, int]:
    """The copy, kept while ``user`` lives, and how many bytes were written for it.

    Raise ``OSError``, ``TarError``, ``CacheRefused``, ``LimitUnclear``.
    """
    home = open_folder(limit.place(place.tier, os.environ)).root / "python"
    home.mkdir(mode=0o700, exist_ok=True)
    copy = home / f"{Path(place.archive).stem}.{boot_id()[:8]}"
    written_bytes = 0

    def waiting(other: Holder) -> None:
        say(Progress(0, place.size_bytes, waits_for=other.run_id))

    with owned(home, this_process(user.run_id), waiting=waiting):
        if not copy.is_dir():
            shutil.rmtree(home / ".new", ignore_errors=True)
            shutil.rmtree(home / ".old", ignore_errors=True)
            _make_room(home, copy.name, place)
            _unpack(place, home / ".new", copy / "tree", say)
            os.rename(home / ".new", copy)
            written_bytes = place.size_bytes
        for path in (copy / "users").iterdir():
            if not _is_used(path):
                path.unlink()
        user_file(copy, user.run_id, node).write_bytes(encode(user))
        os.utime(copy / "copy.json")
    with contextlib.suppress(OSError):
        os.utime(place.archive)
    return copy, written_bytes


def _make_room(home: Path, key: str, place: PythonPlace) -> None:
    """Earlier states of the environment go; others as far as need be. Raise ``CacheRefused``."""
    kept = list(_kept(home))
    limit_bytes = limit.limit_bytes(
        limit.measure(home, place.tier),
        sum(one.size_bytes for one in kept),
        os.environ.get("HEADRACE_CACHE_LIMIT"),
    )
    admission = admit(
        [Wanted(key, place.size_bytes)],
        kept,
        key=key,
        source=place.names[0],
        limit_bytes=limit_bytes,
        in_parts=False,
    )
    if not admission.whole:
        size, room = place.size_bytes / _GIB, limit_bytes / _GIB
        raise CacheRefused(home, f"{size:.2f} GiB do not fit in the {room:.2f} GiB it may take")
    for one in kept:
        earlier = one.source == place.names[0] and not one.in_use
        if earlier or one.key in admission.evict:
            os.rename(home / one.key, home / ".old")
            shutil.rmtree(home / ".old")


def _kept(home: Path) -> Iterator[Kept]:
    for path in home.glob("[0-9a-f]*/copy.json"):
        with contextlib.suppress(OSError, DecodeError):
            copy = read_record(path, Copy)
            yield Kept(
                key=path.parent.name,
                source=copy.source,
                size_bytes=copy.size_bytes,
                used_s=path.stat().st_mtime,
                in_use=any(map(_is_used, (path.parent / "users").iterdir())),
            )


def _is_used(path: Path) -> bool:
    try:
        return lives(read_record(path, Holder), path)
    except (OSError, DecodeError):
        return False


def _unpack(place: PythonPlace, new: Path, tree: Path, say: Callable[[Progress], None]) -> None:
    """Into ``new``, which becomes the folder of ``tree``."""
    (new / "users").mkdir(mode=0o700, parents=True)

    def members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        for member in tar:
            say(Progress(member.offset, place.size_bytes))
            yield member

    with open(place.archive, "rb", _BUFFER_BYTES) as file, tarfile.open(fileobj=file) as tar:
        if os.fstat(file.fileno()).st_uid != os.getuid():
            raise PermissionError(f"{place.archive} is another user's")
        tar.extraction_filter = lambda member, path: member
        tar.extractall(new / "tree", members(tar))
    for script in (new / "tree/bin").iterdir():
        found = script.lstat()
        if script.is_file() and not script.is_symlink() and found.st_size <= _SCRIPT_MAX_BYTES:
            text = script.read_bytes()
            moved = relocated(text, place.names, str(tree))
            if moved != text:
                script.write_bytes(moved)
    write_record(new / "copy.json", Copy(source=place.names[0], size_bytes=place.size_bytes))


def relocated(script: bytes, names: tuple[str, ...], tree: str) -> bytes:
    """A script of a ``bin`` folder that has moved to ``tree``: its first line, and where
    ``activate`` says it is. Anything but text stays as it is. Pure."""
    if b"\0" in script:
        return script
    whole = [re.escape(os.fsencode(name)) for name in names if name.startswith("/")]
    pattern = rb"(?<![\w./-])(?:" + b"|".join(whole) + rb")(?=[/'\"\s:;]|$)"
    moved = re.sub(pattern, lambda _: os.fsencode(tree), script)
    first, line_end, rest = moved.partition(b"\n")
    if moved == script or not first.startswith(b"#!") or len(first) <= _SHEBANG_MAX_BYTES:
        return moved
    program = first[2:].strip()  # too long for some kernels: as pip does, for sh and Python at once
    return b"#!/bin/sh\n'''exec' " + program + b' "$0" "$@"\n' + b"' '''" + line_end + rest


def main(arguments: list[str]) -> int:
    run, node = RunDir(Path(arguments[0])), arguments[1]
    order, agent = read_record(run.order, Order), identify(os.getppid())
    if agent is None or order.python is None:
        return 1
    place, begin_s = order.python, time.monotonic()
    source = DataPlace(source=place.names[0], tier=place.tier)
    teller = Teller(node, source, int(os.environ[CHANNEL_VARIABLE]))
    tree, root, written_bytes, why = None, None, 0, None
    try:
        copy, written_bytes = bring(place, holder(agent, order.run_id), node, teller.progress)
        tree, root = str(copy / "tree"), str(copy)
    except HeadraceError as error:
        why = f"{error.problem} ({error.why})"
    except (OSError, tarfile.TarError) as error:
        why = str(error)
    size_bytes, took_s = place.size_bytes, time.monotonic() - begin_s
    near_bytes = 0 if tree is None else size_bytes
    teller.done(Near(tree, root, size_bytes, near_bytes, written_bytes, took_s, why))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
