"""Which engine a command means. Looks at names and files only, so that no command waits for it.

In this order: ``--engine`` (or ``HEADRACE_ENGINE``), ``engine`` of the site file, else ``auto``.
That is Slurm where this host is a client of a cluster: ``sbatch`` is on the path, and there is a
configuration (``SLURM_CONF``, or slurm.conf in /etc/slurm). It is this machine's own queue in all
other cases, and where the machine has a daemon for all its users or the environment names one.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from headrace.core.errors import UsageError
from headrace.core.places import system_socket
from headrace.engines.local.site import engine_named

EngineName = Literal["local", "slurm"]
_CONFIGURED = ("/etc/slurm/slurm.conf", "/etc/slurm-llnl/slurm.conf", "/run/slurm/conf/slurm.conf")


class EngineUnknown(UsageError):
    """No engine has this name."""

    code = "HR-CONTROL-013"

    def __init__(self, name: str) -> None:
        super().__init__(
            f'there is no engine "{name}"',
            why="an engine is local (this machine's queue), slurm, or auto",
            remedy="--engine slurm",
        )


def engine_of(environ: Mapping[str, str]) -> EngineName:
    """Raise ``EngineUnknown`` or ``SiteInvalid``."""
    name = environ.get("HEADRACE_ENGINE") or engine_named(environ) or "auto"
    if name == "local":
        return "local"
    if name == "slurm":
        return "slurm"
    if name != "auto":
        raise EngineUnknown(name)
    if environ.get("HEADRACE_DAEMON") or system_socket(environ).exists():
        return "local"
    return "slurm" if _is_client(environ) else "local"


def _is_client(environ: Mapping[str, str]) -> bool:
    if shutil.which("sbatch", path=environ.get("PATH")) is None:
        return False
    named = environ.get("SLURM_CONF")
    return any(Path(path).exists() for path in ([named] if named else _CONFIGURED))
