"""Puts the Slurm engine together for the user whose command this is."""

import getpass
import hashlib
import os
import sys
from collections.abc import Mapping, Sequence

from headrace.control.cluster_door import ClusterDoor
from headrace.core.places import state_folder
from headrace.engines.contract import Caller
from headrace.engines.local.index import Index, index_path, require_local_disk
from headrace.engines.local.site import runs_of
from headrace.engines.slurm.call import call
from headrace.engines.slurm.engine import Setting, SlurmEngine
from headrace.engines.slurm.poll import FRESH_S
from headrace.engines.slurm.script import Host

_FOR_OUR_PROGRAMS = ("PYTHONPATH", "LD_LIBRARY_PATH")
_MOUNTS = "/proc/self/mounts"


def cluster_door(environ: Mapping[str, str], *, poll_s: float = FRESH_S) -> ClusterDoor:
    """The cluster that Slurm's commands speak of here. Raise ``HeadraceError``.

    ``poll_s``: between two looks at its queue, at least.
    """
    runs, who = runs_of(environ), Caller(uid=os.getuid(), name=getpass.getuser())
    runs.mkdir(parents=True, exist_ok=True)
    named = environ.get("SLURM_CONF", "") + "|" + environ.get("SLURM_CLUSTERS", "")
    state = state_folder(environ) / f"slurm-{hashlib.sha256(named.encode()).hexdigest()[:8]}"
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(_MOUNTS) as mounts:
        require_local_disk(state, mounts.read())

    def ask(argv: Sequence[str]) -> str:
        return call(argv, environ=environ)

    variables = {name: environ[name] for name in _FOR_OUR_PROGRAMS if name in environ}
    host = Host(python=sys.executable, variables=variables)
    setting = Setting(
        runs=runs, state=state, call=ask, host=host, who=who, environ=environ, poll_s=poll_s
    )
    return ClusterDoor(SlurmEngine(setting, Index(index_path(state, runs))), who, runs)
