"""Puts the parts together for one user of this machine. The environment is an argument."""

import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from headrace.cluster.nodes.probe import probe
from headrace.core.places import state_folder
from headrace.engines.local.engine import LocalEngine, Setting
from headrace.engines.local.index import Index, index_path, require_local_disk
from headrace.engines.local.machine import nodes_of
from headrace.engines.local.own import Folders
from headrace.engines.local.site import SiteFile, runs_of

LEAD = (sys.executable, "-m", "headrace.launch.lead")


def local_engine(environ: Mapping[str, str], *, lead: tuple[str, ...] = LEAD) -> LocalEngine:
    """The engine of this machine, not opened yet.

    Raise ``SiteInvalid``, ``IndexPlaceRefused``.
    """
    site = SiteFile(environ)
    runs, state = runs_of(environ), state_folder(environ)
    runs.mkdir(parents=True, exist_ok=True)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    require_local_disk(state, Path("/proc/self/mounts").read_text())
    host = socket.gethostname()
    setting = Setting(
        state=state,
        host=host,
        nodes=tuple(nodes_of(probe(), site.now)),
        now_s=time.time,
        site=site,
    )
    store = Folders(runs, host=host, program=lead, environ=environ, now_s=time.time)
    return LocalEngine(setting, store, Index(index_path(state, runs)))
