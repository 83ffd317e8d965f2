"""What is so on this node, read in a few milliseconds; what it means is for ``judge``.

The soft limit of locked memory is raised to the hard one on the way, for the ranks: it came with
the submission, from the shell of a login node.
"""

import os
import resource
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from headrace.cluster.nodes.gpu_use import GpuUse, read_gpu_use
from headrace.cluster.nodes.interfaces import read_ipv4
from headrace.core.process import marked
from headrace.core.records import replace
from headrace.launch.facts import NodeFacts
from headrace.launch.versions import versions
from headrace.launch.wire import Clock

GpuReader = Callable[[Sequence[str]], tuple[GpuUse, ...]]


def look(
    address: str,
    gpus: Sequence[str],
    *,
    read_gpus: GpuReader = read_gpu_use,
    root: Path = Path("/"),
) -> NodeFacts:
    """What matters on one host, too."""
    size, free = _shm(root)
    return NodeFacts(
        address=address,
        memlock_bytes=raise_memlock(),
        rdma=tuple(_names(root / "sys/class/infiniband")),
        shm_bytes=size,
        shm_free_bytes=free,
        gpus=read_gpus(gpus),
    )


def look_around(
    facts: NodeFacts,
    *,
    port: int,
    clock: Clock,
    survivors: tuple[int, ...],
    argv: Sequence[str],
    environment: Mapping[str, str],
) -> NodeFacts:
    """With what matters among several hosts."""
    addresses = read_ipv4(_names(Path("/sys/class/net")))
    named = [name for name, address in addresses.items() if address == facts.address]
    return replace(
        facts,
        port=port,
        interface=next(iter(named), None),
        clock_ahead_s=clock.ahead_s,
        clock_within_s=clock.within_s,
        survivors=survivors,
        versions=versions(argv, environment),
    )


def raise_memlock() -> int | None:
    """How many bytes may be locked from now on; None is unlimited."""
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    return None if hard == resource.RLIM_INFINITY else hard


def ranks_left(run_dir: Path, node: str) -> tuple[int, ...]:
    """Processes of the run's ranks on this node. Ranks carry both marks from birth; agents and
    leads do not."""
    of_run = set(marked("HEADRACE_RUN_DIR", str(run_dir)))
    return tuple(sorted(of_run & set(marked("HEADRACE_NODE", node)))) if of_run else ()


def _shm(root: Path) -> tuple[int | None, int | None]:
    try:
        found = os.statvfs(root / "dev/shm")
    except OSError:
        return None, None
    return found.f_frsize * found.f_blocks, found.f_frsize * found.f_bavail


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
