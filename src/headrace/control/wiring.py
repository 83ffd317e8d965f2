"""Puts the parts together for one user of this machine. The environment is an argument."""

import os
import socket
import sys
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

import headrace
from headrace.cluster.nodes.gpus import GpuMeter, read_gpus
from headrace.cluster.nodes.probe import probe
from headrace.control.errors import OutOfReach
from headrace.core.places import state_folder, system_site, system_state
from headrace.engines.local.engine import LocalEngine, Setting
from headrace.engines.local.groups import Groups
from headrace.engines.local.index import Index, index_path, require_local_disk
from headrace.engines.local.machine import nodes_of
from headrace.engines.local.own import Folders
from headrace.engines.local.site import SiteFile, runs_of
from headrace.engines.local.system import Ledger
from headrace.engines.local.table import SiteInvalid

LEAD = (sys.executable, "-m", "headrace.launch.lead")


def gpus_busy() -> dict[int, float]:
    """Utilisation of every GPU of this machine that answers, by its number."""
    found = read_gpus(Path("/"))
    meter = GpuMeter([gpu.index for gpu in found.gpus])
    try:
        return {one.index: one.utilization_ratio for one in meter.samples()}
    finally:
        meter.close()


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
        gpus_busy=gpus_busy,
    )
    store = Folders(runs, host=host, program=lead, environ=environ, now_s=time.time)
    return LocalEngine(setting, store, Index(index_path(state, runs)))


def system_engine(
    environ: Mapping[str, str], *, lead: tuple[str, ...] = LEAD
) -> tuple[LocalEngine, SiteFile]:
    """The engine of all users of this machine, not opened yet, and the rules it goes by.

    Raise ``SiteInvalid``, ``IndexPlaceRefused``.
    """
    site = SiteFile(environ, system_site(environ))
    if site.now.runs is not None and "{user}" not in site.now.runs:
        where, remedy = f"{site.path}: runs", 'runs = "/scratch/{user}/runs"'
        raise SiteInvalid(where, "it is one folder for all users of the machine", remedy)
    state, host = system_state(environ), socket.gethostname()
    mounts = Path("/proc/self/mounts").read_text()
    require_local_disk(state, mounts)
    setting = Setting(
        state=state,
        host=host,
        nodes=tuple(nodes_of(probe(), site.now)),
        now_s=time.time,
        site=site,
        gpus_busy=gpus_busy,
    )
    store = Ledger(
        state,
        runs=site.now.runs,
        program=lead,
        environ=environ,
        groups=Groups(mounts, group_name(state)),
        now_s=time.time,
    )
    return LocalEngine(setting, store, Index(state / "index.sqlite")), site


def group_name(state: Path) -> str:
    """One cgroup for each state folder: there is one, but for tests."""
    return f"headrace-{zlib.crc32(bytes(state)):08x}"


def require_reach() -> None:
    """Other users must be able to run our programs. Raise ``OutOfReach``."""
    for path in (
        sys.executable,
        os.path.realpath(sys.executable),
        headrace.__file__,
        msgspec.__file__,
    ):
        for folder in Path(path).parents:
            if not folder.stat().st_mode & 0o001:
                raise OutOfReach(Path(path), folder)
