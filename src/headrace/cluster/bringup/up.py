"""Bring a virtual cluster up, step by step; every wait has a deadline and shows a log when missed.

The order is that of the daemons' needs: munge, MariaDB, slurmdbd, the accounts (slurmctld ends when
slurmdbd knows no resources), slurmctld, slurmd.
"""

import os
import re
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from headrace.cluster.bringup import boxes, cables, packages, state, virtual
from headrace.cluster.bringup.down import take_down
from headrace.cluster.bringup.errors import ClusterExists, DaemonSilent, RequestInvalid
from headrace.cluster.bringup.plan import (
    NODES_MAX,
    Cluster,
    Hierarchy,
    Request,
    free_prefix,
    make_cluster,
    parse_hierarchies,
)
from headrace.cluster.bringup.render import MODES, render
from headrace.cluster.bringup.status import slurm_states
from headrace.cluster.bringup.write import write_files
from headrace.cluster.nodes.probe import probe
from headrace.core import process
from headrace.core.process import CommandFailed, run
from headrace.core.records import replace, write_file

_STEP_S = 60.0
_NODES_S = 120.0
Say = Callable[[str], None]


def bring_up(request: Request, folder: Path, *, install: bool, say: Say) -> Cluster:
    """Everything up and every node idle when it returns."""
    state.require_root("up")
    packages.require(install=install)
    with ExitStack() as turn:
        turn.enter_context(state.turn())
        cluster = plan_cluster(request, folder)
        _claim(cluster)
        try:
            for command in cables.bridge_commands(cluster):
                run(command)
            turn.close()  # its network has a route now, which the next one sees
            _make(cluster, say)
        except DaemonSilent:
            raise
        except BaseException:
            take_down(folder)
            raise
    cluster = replace(cluster, phase="up")
    state.save(cluster)
    return cluster


def _check(request: Request) -> None:
    if not 1 <= request.nodes <= NODES_MAX:
        rule = f"one machine has room for 1 to {NODES_MAX} nodes"
        raise RequestInvalid("--virtual", request.nodes, rule, "--virtual 4")
    if request.proctrack not in (None, "cgroup", "linuxproc"):
        rule = "Slurm knows a job's processes by control group or by parent"
        raise RequestInvalid("--proctrack", request.proctrack, rule, "--proctrack cgroup")
    if request.bandwidth is not None and not re.fullmatch(r"\d+[kmg]?bit", request.bandwidth):
        raise RequestInvalid("--bandwidth", request.bandwidth, "tc(8) has no such rate", "100mbit")
    virtual.parse_partitions(request.partitions, request.nodes)
    for name in request.users:
        try:
            run(["getent", "passwd", name])
        except CommandFailed:
            rule, remedy = "this machine has no such user", f"useradd --create-home {name}"
            raise RequestInvalid("--user", name, rule, remedy) from None


def plan_cluster(request: Request, folder: Path) -> Cluster:
    """What will be made. Nothing is, yet; what is there already is refused."""
    _check(request)
    found = state.find(folder)
    if found is not None or folder.exists():
        raise ClusterExists(str(folder) if found is None else f"{folder}, {found.phase}")
    prefix = free_prefix(run(["ip", "-4", "route", "show", "table", "all"]))
    if prefix is None:
        rule = "10.85.0.0/24 to 10.99.0.0/24 all have routes"
        raise RequestInvalid("--virtual", request.nodes, rule, "free one of these networks")
    hierarchies = _writable_hierarchies() if request.proctrack != "linuxproc" else []
    if request.proctrack == "cgroup" and not hierarchies:
        rule = "no control groups of version 1 are mounted here that root may write"
        raise RequestInvalid("--proctrack", "cgroup", rule, "--proctrack linuxproc")
    return make_cluster(
        request,
        identity=secrets.token_hex(4),
        maker=process.identify(os.getpid()),
        folder=folder,
        prefix=prefix,
        hierarchies=hierarchies,
    )


def _writable_hierarchies() -> list[Hierarchy]:
    found = parse_hierarchies(Path("/proc/mounts").read_text())
    return found if all(os.access(one.mount, os.W_OK) for one in found) else []


def _claim(cluster: Cluster) -> None:
    """Only one bring-up makes the folder; the plan is in it before anything else."""
    folder = Path(cluster.folder)
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise ClusterExists(str(folder)) from None
    folder.chmod(0o755)
    state.save(cluster)


def _make(cluster: Cluster, say: Say) -> None:
    _write_files(cluster)
    say("boxes: namespaces, addresses, munge")
    for box in cluster.boxes:
        boxes.write_scripts(cluster, box)
        boxes.start(cluster, box)
    say("MariaDB")
    ping = boxes.inside(cluster, cluster.head, ["mariadb-admin", "--no-defaults", "ping"])
    _wait("MariaDB", cluster.path("log", "mariadb.log"), lambda: run(ping, timeout_s=10.0))
    say("slurmdbd, accounts")
    _daemon(cluster, "slurmdbd", ["sacctmgr", "-nP", "list", "cluster"])
    for words in virtual.accounts_commands(cluster.request):
        run(_client(cluster, ["sacctmgr", "-i", "-Q", *words]), timeout_s=_STEP_S)
    say("slurmctld")
    _daemon(cluster, "slurmctld", ["scontrol", "ping"])
    say(f"slurmd on {len(cluster.nodes)} nodes")
    cluster.path("go").touch()
    log = _slurmd_log(cluster, cluster.nodes[-1].name)
    _wait("a slurmd", log, lambda: _all_idle(cluster), limit_s=_NODES_S)


def _write_files(cluster: Cluster) -> None:
    for name in ("etc", "log", "run", "boxes", "spool"):
        cluster.path(name).mkdir(mode=0o755)
    for name in ("slurmctld", "mariadb"):
        cluster.path(name).mkdir(mode=0o700)
    for box in cluster.nodes:
        cluster.path("spool", box.name).mkdir(mode=0o755)
    node = probe()
    hardware = virtual.Hardware(
        sockets=node.sockets,
        cores=node.cores,
        threads=node.threads,
        memory_mib=node.memory_bytes >> 20,
    )
    write_files(render(virtual.site_of(cluster, hardware)), cluster.path("etc"), MODES)
    hosts = ["127.0.0.1 localhost", *(f"{box.address} {box.name}" for box in cluster.boxes)]
    hosts.append(f"{cluster.machine_address} {os.uname().nodename}")
    write_file(cluster.path("etc", "hosts"), ("\n".join(hosts) + "\n").encode())
    write_file(cluster.path("etc", "munge.key"), secrets.token_bytes(128), mode=0o400)
    write_file(cluster.path("etc", "env"), env_text(cluster).encode())


def env_text(cluster: Cluster) -> str:
    """What a shell must export to use the cluster."""
    return f"export SLURM_CONF={cluster.conf}\n"


def _client(cluster: Cluster, command: list[str]) -> list[str]:
    return ["env", f"SLURM_CONF={cluster.conf}", *command]


def _daemon(cluster: Cluster, name: str, question: list[str]) -> None:
    """Start a daemon in the head's box and wait until it answers a client here."""
    log = cluster.path("log", f"{name}.log")
    start = boxes.inside(cluster, cluster.head, _client(cluster, [name]))
    try:
        run(start, timeout_s=_STEP_S)
    except CommandFailed as error:
        raise DaemonSilent(name, 0, log, f"{boxes.tail(log)}\n{error.problem}") from error
    _wait(name, log, lambda: run(_client(cluster, question), timeout_s=10.0))


def _all_idle(cluster: Cluster) -> None:
    """Raise ``CommandFailed`` while a node is missing, ``DaemonSilent`` when one never comes."""
    states = slurm_states(cluster) or {}
    late = [box.name for box in cluster.nodes if states.get(box.name) != "idle"]
    for name in late:
        log = _slurmd_log(cluster, name)
        if "slurmd initialization failed" in (end := boxes.tail(log)):
            raise DaemonSilent(f"the slurmd of {name}", 0, log, end)
    if late:
        raise CommandFailed(["sinfo"], f"not idle: {', '.join(late)}")


def _slurmd_log(cluster: Cluster, name: str) -> Path:
    return cluster.path("log", f"slurmd.{name}.log")


def _wait(what: str, log: Path, answers: Callable[[], object], *, limit_s: float = _STEP_S) -> None:
    """Raise ``DaemonSilent``."""
    started_s = time.monotonic()
    while True:
        try:
            answers()
        except CommandFailed as error:
            waited_s = time.monotonic() - started_s
            if waited_s > limit_s or "fatal:" in error.problem:
                text = f"{boxes.tail(log)}\n{error.problem}"
                raise DaemonSilent(what, waited_s, log, text) from error
            time.sleep(0.1)
        else:
            return
