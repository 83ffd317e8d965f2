"""Start boxes, find them again, run things in them, pull their plug.

A box is found by its init: the process 1 of some pid namespace that runs the box's script.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from headrace.cluster.bringup import boot, cables
from headrace.cluster.bringup.errors import DaemonSilent
from headrace.cluster.bringup.plan import MARK, Box, Cluster
from headrace.core import process
from headrace.core.records import write_file

_START_S = 60.0


def write_scripts(cluster: Cluster, box: Box) -> None:
    folder = cluster.path("boxes", box.name)
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "start", boot.start_script(cluster, box).encode())
    write_file(folder / "init", boot.init_script(cluster, box).encode())


def start(cluster: Cluster, box: Box) -> None:
    """Make the box and plug it in. Its daemons come up on their own, in the background.

    A cable that is still there is that of the box before it.
    """
    with contextlib.suppress(process.CommandFailed):
        process.run(cables.unplug_command(box))
    for group in cluster.cgroups(box):
        make_cgroup(Path(group))
    log = boot_log(cluster, box)
    with log.open("ab") as output:
        started = subprocess.Popen(
            ["sh", str(cluster.path("boxes", box.name, "start"))],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
        )
    started_s = time.monotonic()
    while (init := find_init(cluster, box)) is None:
        waited_s = time.monotonic() - started_s
        if started.poll() is not None or waited_s > _START_S:
            raise DaemonSilent(f"the namespaces of {box.name}", waited_s, log, tail(log))
        time.sleep(0.02)
    for command in cables.cable_commands(cluster, box, init):
        process.run(command)


def boot_log(cluster: Cluster, box: Box) -> Path:
    return cluster.path("log", f"boot.{box.name}.log")


def make_cgroup(folder: Path) -> None:
    """A group that gives what the one above it has: a new cpuset of version 1 is empty."""
    for group in (folder.parent, folder):
        group.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            file = group / name
            if file.exists() and not file.read_text().strip():
                file.write_text((group.parent / name).read_text())


def find_init(cluster: Cluster, box: Box) -> int | None:
    """Process 1 of the box, as this machine numbers it; None when the box is down."""
    return inits(cluster).get(box.name)


def inits(cluster: Cluster) -> dict[str, int]:
    """Name of box -> pid of its init, from one look at the process table."""
    scripts = {
        f"sh\0{cluster.path('boxes', box.name, 'init')}\0".encode(): box.name
        for box in cluster.boxes
    }
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            box = scripts.get(Path(f"/proc/{name}/cmdline").read_bytes())
            if box is not None and _is_first(Path(f"/proc/{name}/status").read_text()):
                found[box] = int(name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _is_first(status: str) -> bool:
    """Process 1 of a pid namespace below ours, and alive."""
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    numbers = lines["NSpid"].split()
    return len(numbers) > 1 and numbers[-1] == "1" and not lines["State"].strip().startswith("Z")


def inside(cluster: Cluster, box: Box, command: Sequence[str]) -> list[str]:
    """The command line that runs ``command`` in the box. Never ``ip netns exec``: see boot.py."""
    init = find_init(cluster, box)
    if init is None:
        log = boot_log(cluster, box)
        raise DaemonSilent(f"process 1 of {box.name}", 0, log, tail(log))
    names = ["--mount", "--root", "--uts", "--ipc", "--pid", "--net"]
    mark = f"{MARK}={cluster.id}"
    return ["env", mark, "nsenter", f"--target={init}", *names, "--wd=/", "--", *command]


def kill(cluster: Cluster, box: Box) -> bool:
    """Pull the plug: every process of the box is gone at once. False if it was down."""
    init = find_init(cluster, box)
    found = None if init is None else process.identify(init)
    if found is None:
        return False
    process.send_signal(found, signal.SIGKILL)
    for group in cluster.cgroups(box):
        thaw(Path(group))
    process.wait_gone(found, 20.0)
    return True


def thaw(top: Path) -> None:
    """A frozen process (Slurm freezes what it suspends) dies of SIGKILL only when it is thawed."""
    for file in top.rglob("freezer.state"):
        with contextlib.suppress(OSError):
            file.write_text("THAWED")


def tail(log: Path, lines: int = 12) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"({error.strerror})"
    return "\n".join(text.splitlines()[-lines:])
