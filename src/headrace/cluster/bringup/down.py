"""Take a virtual cluster down, whatever state it is in. Safe to call again, and after any kill.

Everything is found anew: processes by the mark they carry, links and control groups by the plan's
names. The plan's file goes last, so that a ``down`` that is killed can be repeated.
"""

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

from headrace.cluster.bringup import boxes, state
from headrace.cluster.bringup.errors import LeftBehind
from headrace.cluster.bringup.plan import MARK, Cluster
from headrace.core import process
from headrace.core.process import CommandFailed, run

_LIMIT_S = 60.0


def take_down(folder: Path) -> bool:
    """Leave nothing behind. False if there was nothing. Raise ``LeftBehind``."""
    cluster = state.find(folder)
    if cluster is None:
        return _remove_unclaimed(folder)
    if cluster.phase == "starting" and cluster.maker is not None:
        _end_maker(cluster.maker)
    deadline_s = time.monotonic() + _LIMIT_S
    while left := [*_end_processes(cluster), *_remove_links(cluster), *_remove_cgroups(cluster)]:
        if time.monotonic() > deadline_s:
            raise LeftBehind(left)
        time.sleep(0.05)
    _remove_folder(folder)
    return True


def _end_maker(maker: process.Process) -> None:
    """A bring-up that is still at work would make new things while we remove the old."""
    if maker.pid != os.getpid():
        process.send_signal(maker, signal.SIGKILL)
        process.wait_gone(maker, 10.0)


def _end_processes(cluster: Cluster) -> list[str]:
    """Kill what carries the mark; boxes take all that is in them along. Names who still lives."""
    found = [process.identify(pid) for pid in process.marked(MARK, cluster.id)]
    killed = [one for one in found if one is not None and process.send_signal(one, signal.SIGKILL)]
    for box in cluster.boxes:
        boxes.thaw(cluster, box)
    for one in killed:
        process.wait_gone(one, 5.0)
    return [f"process {one.pid}" for one in killed if process.is_alive(one)]


def _remove_links(cluster: Cluster) -> list[str]:
    left = []
    for link in reversed(cluster.links):
        if Path("/sys/class/net", link).exists():
            with contextlib.suppress(CommandFailed):
                run(["ip", "link", "delete", link])
            if Path("/sys/class/net", link).exists():
                left.append(f"network link {link}")
    return left


def _remove_cgroups(cluster: Cluster) -> list[str]:
    left = []
    for top in cluster.cgroup_tops:
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        if Path(top).exists():
            left.append(f"control group {top}")
    return left


def _remove_folder(folder: Path) -> None:
    plan = state.state_file(folder)
    for path in folder.iterdir():
        if path == plan:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    plan.unlink(missing_ok=True)
    folder.rmdir()


def _remove_unclaimed(folder: Path) -> bool:
    """A folder whose maker was killed before the plan was written, or whose remover was, after."""
    if not folder.is_dir():
        return False
    if any(
        not path.name.startswith(f".{state.state_file(folder).name}.") for path in folder.iterdir()
    ):
        raise LeftBehind([f"{folder}, which holds files but no plan of a cluster"])
    _remove_folder(folder)
    return True
