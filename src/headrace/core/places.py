"""Where things are on this machine. The environment is an argument, so tests can say otherwise.

* runs:    ``HEADRACE_RUNS``, else the site file's ``runs``, else ``$XDG_DATA_HOME/headrace/runs``
* socket:  ``$XDG_RUNTIME_DIR/headrace`` if that is ours (sudo and su keep the other user's), else
  a 0700 folder under the temporary directory
* state:   ``$XDG_STATE_HOME/headrace/<host>``: the index database; never on a network file system
* site:    ``HEADRACE_SITE``, else ``$XDG_CONFIG_HOME/headrace/site.toml``

The daemon of a whole machine has its socket in ``/run/headrace``, its state in
``/var/lib/headrace`` and its site file in ``/etc/headrace``.
"""

import contextlib
import os
import socket
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from headrace.core.errors import Refused

_SOCKET_PATH_MAX = 107  # sun_path is 108 bytes with its NUL (unix(7))


class PlaceRefused(Refused):
    """A folder Headrace would use is not safe or not usable."""

    code = "HR-CORE-002"


def runs_folder(environ: Mapping[str, str], *, site_runs: str | None = None) -> Path:
    explicit = environ.get("HEADRACE_RUNS") or site_runs
    if explicit:
        return Path(explicit).expanduser().resolve()
    return _home(environ, "XDG_DATA_HOME", ".local/share") / "headrace" / "runs"


def site_file(environ: Mapping[str, str]) -> Path:
    explicit = environ.get("HEADRACE_SITE")
    return (
        Path(explicit)
        if explicit
        else _home(environ, "XDG_CONFIG_HOME", ".config") / "headrace/site.toml"
    )


def state_folder(environ: Mapping[str, str]) -> Path:
    return _home(environ, "XDG_STATE_HOME", ".local/state") / "headrace" / socket.gethostname()


def socket_path(environ: Mapping[str, str]) -> Path:
    """Path of the daemon's socket; its folder is made, 0700 and ours. Raise ``PlaceRefused``."""
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime and _is_ours(Path(runtime)):
        folder = Path(runtime) / "headrace"
    else:
        folder = Path(environ.get("TMPDIR") or tempfile.gettempdir()) / f"headrace-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise PlaceRefused(
            f"{folder} cannot be made",
            why=str(error.strerror),
            remedy="set XDG_RUNTIME_DIR to a folder of your own (mode 0700)",
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PlaceRefused(
            f"{folder} is not a private folder of yours",
            why="another user could answer in the daemon's name",
            remedy=f"remove {folder} or set XDG_RUNTIME_DIR to a folder of your own (mode 0700)",
        )
    path = folder / "daemon.sock"
    if len(os.fsencode(path)) > _SOCKET_PATH_MAX:
        raise PlaceRefused(
            f"{path} is too long for a Unix socket ({len(os.fsencode(path))} bytes)",
            why=f"the kernel allows {_SOCKET_PATH_MAX} bytes",
            remedy="set XDG_RUNTIME_DIR to a shorter path",
        )
    return path


def _is_ours(folder: Path) -> bool:
    try:
        found = folder.stat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def system_socket(environ: Mapping[str, str]) -> Path:
    """Where the machine's daemon listens, if there is one."""
    return Path(environ.get("HEADRACE_SYSTEM_SOCKET") or "/run/headrace/daemon.sock")


def system_state(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HEADRACE_SYSTEM_STATE") or "/var/lib/headrace")


def system_site(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HEADRACE_SITE") or "/etc/headrace/site.toml")


def require_roots(folder: Path, *, mode: int) -> None:
    """Make the folder, or see that root alone may write there. Raise ``PlaceRefused``."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True)
        folder.chmod(mode)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o777 & ~mode:
        raise PlaceRefused(
            f"{folder} is not a folder that only root may change",
            why="another user could put things there in the daemon's name",
            remedy=f"chown root {folder}; chmod {mode:o} {folder}",
        )


def _home(environ: Mapping[str, str], variable: str, fallback: str) -> Path:
    explicit = environ.get(variable)
    return Path(explicit) if explicit else Path(environ.get("HOME") or Path.home()) / fallback
