"""The daemon's process: one a user, or one for the machine; its locks, its socket, its log.

``python -m headrace.control.daemon [--system]``. Two locks keep it alone: one beside the socket,
whose holder alone may replace the socket, and one in the runs folder, of this host, so that daemons
that do not see each other's sockets never serve the same runs. The kernel frees both when the
process ends, however it ends.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.control.errors import RootOnly, RunsServedElsewhere
from headrace.core.errors import HeadraceError
from headrace.core.places import require_roots, socket_path, system_socket, system_state

if TYPE_CHECKING:
    from headrace.control.audience import Audience
    from headrace.control.reading import Reader
    from headrace.engines.local.engine import LocalEngine

ALREADY_RUNNING = 75
_BACKLOG = 1024


def take_lock(path: Path, note: str) -> int | None:
    """A descriptor that holds the lock while it is open; None when another process has it.

    The file holds ``note`` of its holder. A file system without flock (some NFS) locks nothing.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        logging.getLogger(__name__).warning("%s cannot be locked: %s", path, error)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, note.encode(), 0)
    return descriptor


def runs_lock(runs: Path) -> Path:
    return runs / f".daemon-{socket.gethostname()}.lock"


def listen(path: Path, mode: int = 0o600) -> socket.socket:
    """The daemon's socket, in place of one that a dead daemon left."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(_BACKLOG)
    return listener


def run(environ: Mapping[str, str]) -> int:
    """Serve the user whose process this is until asked to stop. Return the exit status."""
    path = socket_path(environ)
    note = f"pid {os.getpid()}, socket {path}"
    if take_lock(path.with_name("daemon.lock"), note) is None:
        return ALREADY_RUNNING
    from headrace.control.audience import Owner  # after the lock: slow to import
    from headrace.control.reading import Ourselves
    from headrace.control.wiring import local_engine
    from headrace.engines.local.site import read_site, runs_of
    from headrace.launch.memory import sweep

    runs = runs_of(environ)
    engine = local_engine(environ)
    lock = runs_lock(runs)
    if take_lock(lock, note) is None:
        raise RunsServedElsewhere(runs, lock.read_text())
    engine.open()
    sweep()
    owner = Owner(runs, idle_exit_s=read_site(environ).idle_exit_s)
    _serve(engine, path, owner, Ourselves(), mode=0o600)
    return 0


def run_system(environ: Mapping[str, str]) -> int:
    """Serve all users of the machine, as root, until asked to stop. Return the exit status."""
    if os.geteuid() != 0:
        raise RootOnly(os.geteuid())
    os.umask(0o077)
    path, state = system_socket(environ), system_state(environ)
    require_roots(path.parent, mode=0o755)
    require_roots(state, mode=0o700)
    if take_lock(state / "daemon.lock", f"pid {os.getpid()}, socket {path}") is None:
        return ALREADY_RUNNING
    from headrace.control.audience import Everybody
    from headrace.control.reading import AsOwner
    from headrace.control.wiring import require_reach, system_engine

    require_reach()
    engine, site = system_engine(environ)
    engine.open()
    _serve(engine, path, Everybody(lambda: site.now.admins), AsOwner(environ), mode=0o666)
    return 0


def _serve(
    engine: "LocalEngine", path: Path, audience: "Audience", reader: "Reader", *, mode: int
) -> None:
    from headrace.control.server import serve

    listener = listen(path, mode)
    try:
        asyncio.run(serve(engine, listener, audience, reader))
    finally:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def main(arguments: Sequence[str]) -> int:
    logging.basicConfig(
        level=logging.INFO,
        format=f"%(asctime)s {os.getpid()} %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        return (run_system if "--system" in arguments else run)(os.environ)
    except HeadraceError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
