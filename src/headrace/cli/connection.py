"""The way to a daemon or a cluster, for all commands that need it.

``headrace.control.choice`` says which engine is meant.

The machine's daemon serves where its socket is, also while it is being started again, unless
``HEADRACE_RUNS`` names a folder of the user's own or ``HEADRACE_DAEMON`` is "own"; with "system" it
must be there.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from headrace.control.choice import engine_of
from headrace.control.client import Client
from headrace.control.door import Door
from headrace.core.places import system_socket
from headrace.core.rundir import RunDir, find_run
from headrace.engines.local.site import runs_of


def connect() -> Door:
    """The daemon or the cluster that this environment means. Raise ``HeadraceError``."""
    if engine_of(os.environ) == "slurm":
        from headrace.control.cluster import cluster_door

        return cluster_door(os.environ)
    if _means_the_machine(os.environ):
        return Client(os.environ, runs=None, system=True)
    return Client(os.environ, runs=runs_of(os.environ))


def _means_the_machine(environ: Mapping[str, str]) -> bool:
    wanted = environ.get("HEADRACE_DAEMON")
    if wanted or environ.get("HEADRACE_RUNS"):
        return wanted == "system"
    return system_socket(environ).exists()


def run_dir(word: str) -> RunDir:
    """The run directory of the user that ``word`` names. Raise ``RunNotFound``."""
    return find_run(word, Path() if "/" in word else runs_folder())


def runs_folder() -> Path:
    """Where the user's runs are."""
    return Path(connect().runs_folder())
