"""Look at this machine. Reads /proc, /sys and NVML; starts nothing, changes nothing."""

import re
from pathlib import Path

from headrace.cluster.nodes.cgroup import read_limits
from headrace.cluster.nodes.cpus import (
    parse_allowed,
    parse_cpu_model,
    parse_meminfo,
    read_numa,
    read_topology,
)
from headrace.cluster.nodes.gpus import read_gpus
from headrace.cluster.nodes.interfaces import read_interfaces, read_ipv4, read_rdma
from headrace.cluster.nodes.mounts import read_mounts
from headrace.cluster.nodes.node import Limits, Node
from headrace.cluster.nodes.rapl import readable_domains


def probe(root: Path = Path("/")) -> Node:
    """What this machine has and what this process may use of it.

    ``root`` is where /proc and /sys are looked for. Takes a few milliseconds without a GPU.
    """
    here = root == Path("/")
    status = _text(root / "proc/self/status")
    memory = parse_meminfo(_text(root / "proc/meminfo"))
    cgroup = read_limits(root)
    topology = read_topology(root)
    allowed = parse_allowed(status)
    gpus = read_gpus(root)
    domains, readable = readable_domains(root)
    mounts = read_mounts(root)
    total_bytes = memory.get("MemTotal", 0)
    names = [path.name for path in (root / "sys/class/net").glob("*")]
    governor = _text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip()
    return Node(
        hostname=_text(root / "proc/sys/kernel/hostname").strip(),
        kernel=_text(root / "proc/sys/kernel/osrelease").strip(),
        cpu_model=parse_cpu_model(_head(root / "proc/cpuinfo")),
        sockets=topology.sockets,
        cores=topology.cores,
        threads=topology.threads,
        cpus=within_quota(allowed, cgroup.cpu_quota),
        allowed_cpus=allowed,
        cpu_quota=cgroup.cpu_quota,
        governor=governor or None,
        numa=read_numa(root),
        memory_bytes=min(total_bytes, cgroup.memory_bytes or total_bytes),
        memory_total_bytes=total_bytes,
        memory_available_bytes=memory.get("MemAvailable", 0),
        memory_limit_bytes=cgroup.memory_bytes,
        swap_used_bytes=memory.get("SwapTotal", 0) - memory.get("SwapFree", 0),
        shm_bytes=next((mount.size_bytes for mount in mounts if mount.path == "/dev/shm"), None),
        driver=gpus.driver,
        cuda_driver=gpus.cuda_driver,
        gpus=gpus.gpus,
        mounts=mounts,
        interfaces=read_interfaces(root, read_ipv4(names) if here else {}),
        rdma=read_rdma(root),
        rapl=domains,
        rapl_readable=readable,
        limits=_limits(root, cgroup.pids_max),
    )


def within_quota(allowed: tuple[int, ...], quota: float | None) -> tuple[int, ...]:
    """The first CPUs that a quota can keep busy; at least one."""
    return allowed if quota is None else allowed[: max(1, int(quota))]


def parse_limits(text: str) -> dict[str, int | None]:
    """Soft limit per name of /proc/PID/limits; None is unlimited."""
    found = re.findall(r"^(Max [a-z ]+?)\s{2,}(\d+|unlimited)\s", text, re.MULTILINE)
    return {name: None if soft == "unlimited" else int(soft) for name, soft in found}


def _limits(root: Path, cgroup_pids: int | None) -> Limits:
    found = parse_limits(_text(root / "proc/self/limits"))
    host = _text(root / "proc/sys/kernel/pid_max").strip()
    return Limits(
        memlock_bytes=found.get("Max locked memory"),
        open_files=found.get("Max open files"),
        processes=found.get("Max processes"),
        pids_max=cgroup_pids or (int(host) if host.isdigit() else None),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _head(path: Path) -> str:
    """The first 8 KiB: the kernel gathers /proc/cpuinfo CPU by CPU, slowly on a large machine."""
    try:
        with path.open() as file:
            return file.read(8192)
    except OSError:
        return ""
