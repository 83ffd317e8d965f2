"""The daemon's process: one a user, its locks, its socket, its log.

``python -m headrace.control.daemon``. Two locks keep it alone: one beside the socket, whose holder
alone may replace the socket, and one in the runs folder, of this host, so that daemons that do not
see each other's sockets never serve the same runs. The kernel frees both when the process ends,
however it ends.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from headrace.control.errors import RunsServedElsewhere
from headrace.core.errors import HeadraceError
from headrace.core.places import socket_path

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


def listen(path: Path) -> socket.socket:
    """The daemon's socket, in place of one that a dead daemon left."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(_BACKLOG)
    return listener


def run(environ: Mapping[str, str]) -> int:
    """Serve until asked to stop. Return the exit status."""
    path = socket_path(environ)
    note = f"pid {os.getpid()}, socket {path}"
    if take_lock(path.with_name("daemon.lock"), note) is None:
        return ALREADY_RUNNING
    from headrace.control.audience import Owner
    from headrace.control.server import serve  # after the lock: slow to import
    from headrace.control.wiring import local_engine
    from headrace.engines.local.site import read_site, runs_of

    runs = runs_of(environ)
    engine = local_engine(environ)
    lock = runs_lock(runs)
    if take_lock(lock, note) is None:
        raise RunsServedElsewhere(runs, lock.read_text())
    engine.open()
    listener = listen(path)
    try:
        idle_exit_s = read_site(environ).idle_exit_s
        asyncio.run(serve(engine, listener, Owner(runs), idle_exit_s=idle_exit_s))
    finally:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    return 0


def main() -> int:
    logging.basicConfig(
        level=logging.INFO,
        format=f"%(asctime)s {os.getpid()} %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        return run(os.environ)
    except HeadraceError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main())
