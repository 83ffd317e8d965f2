"""``of(path)``: what lies under a path, in a bounded time whatever the file system does.

A local file system is looked at here. One that may hang (servers, FUSE, mounts on demand) is looked
at by a child process with a deadline: when it is over the child is killed, not waited for, and what
it had found by then is the answer.
"""

import errno
import os
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path

from headrace.cluster.nodes.mounts import MountLine, mount_of, parse_mounts
from headrace.cluster.storage.errors import NotLookedAt
from headrace.cluster.storage.kinds import is_network, kind_of, may_hang
from headrace.cluster.storage.look import look
from headrace.cluster.storage.storage import Storage
from headrace.core.bounded import bounded
from headrace.core.records import DecodeError, decode, replace

DEADLINE_S = 15.0
_START_S = 5.0
_LINKS_MAX = 40
_SERVERS_GONE = (errno.ENOTCONN, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ESHUTDOWN)
"""What a file system says at once whose servers it has lost."""


def of(path: str | os.PathLike[str], *, deadline_s: float = DEADLINE_S) -> Storage:
    """What lies under ``path``, which need not exist yet. Never waits longer than ``deadline_s``.

    Raise ``NotLookedAt`` where the kernel refuses.
    """
    named = os.path.join(os.getcwd(), os.fspath(path))
    mounts = parse_mounts(Path("/proc/self/mounts").read_text(errors="replace"))
    try:
        place = follow(named, mounts)
        line = mount_of(place, mounts)
        if line is not None and may_hang(line.fstype):
            return look_from_child(named, place, line, deadline_s)
        *_, found = look(named, deadline_s)
    except (OSError, ValueError) as error:
        raise NotLookedAt(named, getattr(error, "strerror", None) or str(error)) from error
    return found


def follow(path: str, mounts: list[MountLine]) -> str:
    """The absolute path with links followed, until a mount is entered that may hang."""
    left = deque(path.split("/"))
    at, links = "/", 0
    while left:
        name = left.popleft()
        if name in ("", "."):
            continue
        if name == "..":
            at = os.path.dirname(at)
            continue
        here = os.path.join(at, name)
        line = mount_of(here, mounts)
        if line is not None and may_hang(line.fstype):
            return os.path.join(here, *left)
        try:
            target = os.readlink(here)
        except OSError:
            at = here
            continue
        links += 1
        if links > _LINKS_MAX:
            return os.path.join(here, *left)
        left.extendleft(reversed(target.split("/")))
        at = "/" if target.startswith("/") else at
    return at


def child_command(path: str, deadline_s: float) -> list[str]:
    return [sys.executable, "-m", __package__, path, str(deadline_s)]


def look_from_child(path: str, place: str, line: MountLine, deadline_s: float) -> Storage:
    command = child_command(path, max(0.0, deadline_s - _START_S))
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    told, complaint, status = bounded(command, deadline_s, environ)
    found = _last(told)
    if found is not None:
        missed = f"the file system stopped answering within {deadline_s:g} s"
        known = (*found.unknown, missed)
        return found if status is not None else replace(found, unknown=known)
    why = f"no answer from {line.source} in {deadline_s:g} s"
    if status is not None:
        lines = complaint.decode(errors="replace").strip().splitlines()
        why = lines[-1] if lines else "the look at it ended without an answer"
        if status not in _SERVERS_GONE:
            raise NotLookedAt(path, why)
    kind = kind_of(line.fstype, None)
    return Storage(
        path=path,
        looked_at=place,
        kind=kind,
        fstype=line.fstype,
        source=line.source,
        mount=line.path,
        options=line.options,
        network=is_network(line.fstype, kind),
        answers=False,
        unknown=(why,),
    )


def _last(told: bytes) -> Storage | None:
    """The newest whole line."""
    for line in reversed(told.splitlines()):
        with suppress(DecodeError):
            return decode(line, Storage)
    return None
