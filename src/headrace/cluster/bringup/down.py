"""Take a virtual cluster down, whatever state it is in. Safe to call again, and after any kill.

All that a cluster has on a machine carries its id: processes in their environment, links and
control groups in their names. So the id is enough, and the plan's file, which has it, goes last;
where that file is damaged, the boxes' scripts and the processes that run them still tell the id.
"""

import contextlib
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from headrace.cluster.bringup import boxes, state
from headrace.cluster.bringup.errors import LeftBehind, PlanDamaged
from headrace.cluster.bringup.plan import MARK, cgroup_tops, is_link_of, parse_mounts
from headrace.core import process
from headrace.core.process import CommandFailed, run

_LIMIT_S = 60.0


def take_down(folder: Path) -> bool:
    """Leave nothing behind. False if there was nothing. Raise ``LeftBehind`` or ``PlanDamaged``."""
    try:
        cluster = state.find(folder)
    except PlanDamaged:
        found = _identities(folder)
        if not found:
            raise
    else:
        if cluster is None:
            return _remove_unclaimed(folder)
        found = {cluster.id}
        if cluster.phase == "starting" and cluster.maker is not None:
            _end_maker(cluster.maker)
    for identity in found:
        _remove_traces(identity)
    _remove_folder(folder)
    return True


def _identities(folder: Path) -> set[str]:
    """Ids of the cluster whose plan cannot be read: as its scripts and its processes have them."""
    scripts = [path.read_text(errors="replace") for path in folder.glob("boxes/*/start")]
    start = f"sh\0{folder}/boxes/"
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(start.encode()):
                scripts.append(Path(f"/proc/{pid}/environ").read_text(errors="replace"))
    return set(re.findall(rf"\b{MARK}=([0-9a-f]{{8}})\b", "\n".join(scripts)))


def _remove_traces(identity: str) -> None:
    deadline_s = time.monotonic() + _LIMIT_S
    while left := [
        *_end_processes(identity),
        *_remove_links(identity),
        *_remove_cgroups(identity),
    ]:
        if time.monotonic() > deadline_s:
            raise LeftBehind(left)
        time.sleep(0.05)


def _end_maker(maker: process.Process) -> None:
    """A bring-up that is still at work would make new things while we remove the old."""
    if maker.pid != os.getpid():
        process.send_signal(maker, signal.SIGKILL)
        process.wait_gone(maker, 10.0)


def _end_processes(identity: str) -> list[str]:
    """Kill what carries the mark; boxes take all that is in them along. Names who still lives."""
    found = [process.identify(pid) for pid in process.marked(MARK, identity)]
    killed = [one for one in found if one is not None and process.send_signal(one, signal.SIGKILL)]
    for top in _cgroups(identity):
        boxes.thaw(top)
    for one in killed:
        process.wait_gone(one, 5.0)
    return [f"process {one.pid}" for one in killed if process.is_alive(one)]


def _remove_links(identity: str) -> Iterator[str]:
    """The bridge's name is the shortest: it goes when nothing is plugged into it."""
    folder = Path("/sys/class/net")
    for link in sorted(filter(is_link_of(identity), os.listdir(folder)), reverse=True):
        with contextlib.suppress(CommandFailed):
            run(["ip", "link", "delete", link])
        if (folder / link).exists():
            yield f"network link {link}"


def _cgroups(identity: str) -> list[Path]:
    mounts = parse_mounts(Path("/proc/mounts").read_text())
    return [top for top in map(Path, cgroup_tops(mounts, identity)) if top.exists()]


def _remove_cgroups(identity: str) -> Iterator[str]:
    for top in _cgroups(identity):
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        if top.exists():
            yield f"control group {top}"


def _remove_folder(folder: Path) -> None:
    plan = state.state_file(folder)
    try:
        for path in [*(path for path in folder.iterdir() if path != plan), plan]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        folder.rmdir()
    except OSError as error:
        raise LeftBehind([f"{error.filename or folder} ({error.strerror})"]) from None


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
