"""A run's folder of shared memory on a node: what its ranks stage there outlives them.

::

    /dev/shm/headrace-<uid>/<run id>-<run directory's hash>.<node>/
        owner.json     the agent (core.process.Process)
        ...            staging memory of ranks (headrace.checkpoint.memory)

The agent makes it, or takes over that of an agent of the same run and node which was killed, and
removes it when the run ends. A folder whose agent is dead is removed by the next agent or daemon of
the same user; the next boot empties /dev/shm by itself.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from headrace.core.process import Process, identify, is_alive
from headrace.core.records import DecodeError, read_record, write_record
from headrace.core.rundir import RunDir

SHM = Path("/dev/shm")
_OWNER = "owner.json"


def claim(run: RunDir, node: str, *, shm: Path = SHM) -> Path | None:
    """The folder, ours from now on; None where there can be none. Those of the dead are removed."""
    mine = _path(run, node, shm)
    sweep(but=mine, shm=shm)
    owner = identify(os.getpid())
    try:
        for folder in (mine.parent, mine):
            folder.mkdir(mode=0o700, exist_ok=True)
            if not _is_private(folder):
                return None
        write_record(mine / _OWNER, owner, mode=0o600)
    except OSError:
        return None
    return mine


def release(run: RunDir, node: str, *, shm: Path = SHM) -> None:
    """Remove it: the run needs it no more."""
    shutil.rmtree(_path(run, node, shm), ignore_errors=True)


def sweep(*, but: Path | None = None, shm: Path = SHM) -> None:
    """Remove this user's folders whose agents are dead."""
    for folder in _folders(shm):
        if folder != but and not _has_owner(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _path(run: RunDir, node: str, shm: Path) -> Path:
    place = sha256(os.fsencode(run.root.resolve())).hexdigest()[:8]
    return _home(shm) / f"{run.run_id}-{place}.{node}"


def _home(shm: Path) -> Path:
    return shm / f"headrace-{os.geteuid()}"


def _folders(shm: Path) -> Iterator[Path]:
    home = _home(shm)
    try:
        if _is_private(home):
            yield from sorted(home.iterdir())
    except OSError:
        return


def _is_private(folder: Path) -> bool:
    """A folder of ours that nobody else can enter; not a link that somebody has put there."""
    found = os.lstat(folder)
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.geteuid()
        and not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    )


def _has_owner(folder: Path) -> bool:
    try:
        return is_alive(read_record(folder / _OWNER, Process))
    except (OSError, DecodeError):
        return False
