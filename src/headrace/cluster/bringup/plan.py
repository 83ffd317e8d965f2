"""What ``up`` is about to make: boxes, links, addresses, folders. Pure; also the state file.

A box is a set of namespaces held by one init process: the head (slurmctld and all it needs) or a
node, each with a cable to the bridge. To kill the init is to pull the plug.
The plan is on disk before anything of it exists, and names all that may exist outside the boxes:
links, control groups, one folder. Processes and mounts live in boxes, or carry the cluster's mark.
The cluster's id is part of every name, so that nothing of anybody else's is ever taken for ours.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from headrace.core.process import Process
from headrace.core.records import Record

MARK = "HEADRACE_CLUSTER_ID"
"""The environment variable that every process we start carries."""
HEAD = "head"
NODES_MAX = 100
_CONTROLLERS = ("cpuacct", "cpuset", "devices", "freezer", "memory")


class Hierarchy(Record, frozen=True, kw_only=True):
    """A mounted control group hierarchy, version 1. ``options``: "cpu,cpuacct", as for mount."""

    options: str
    mount: str


class Box(Record, frozen=True, kw_only=True):
    """``link`` is the machine's end of its cable."""

    name: str
    address: str
    link: str

    @property
    def is_head(self) -> bool:
        return self.name == HEAD


class Request(Record, frozen=True, kw_only=True):
    """What the caller asked for. ``partitions`` as ``parse_partitions`` reads them."""

    nodes: int
    gpus_per_node: int = 0
    partitions: str = "main"
    users: tuple[str, ...] = ()
    cpus_per_node: int | None = None
    memory_mib: int | None = None
    bandwidth: str | None = None
    proctrack: str | None = None


class Cluster(Record, frozen=True, kw_only=True):
    """``phase``: starting until all is up, then up. ``maker``: the process that brings it up."""

    schema: int = 1
    id: str
    phase: str
    maker: Process | None
    folder: str
    prefix: str
    request: Request
    head: Box
    nodes: tuple[Box, ...]
    hierarchies: tuple[Hierarchy, ...]

    @property
    def bridge(self) -> str:
        return bridge_name(self.id)

    @property
    def boxes(self) -> tuple[Box, ...]:
        return (self.head, *self.nodes)

    def cgroups(self, box: Box) -> list[str]:
        """Folders of a node, one a hierarchy; the head's daemons stay where they are."""
        if box.is_head:
            return []
        return [f"{top}/{box.name}" for top in self.cgroup_tops]

    @property
    def cgroup_tops(self) -> list[str]:
        return cgroup_tops([one.mount for one in self.hierarchies], self.id)

    def path(self, *parts: str) -> Path:
        return Path(self.folder, *parts)

    @property
    def machine_address(self) -> str:
        """This machine's own address on the bridge: where srun listens."""
        return f"{self.prefix}.253"

    @property
    def conf(self) -> Path:
        return self.path("etc", "slurm.conf")


def bridge_name(identity: str) -> str:
    """A link's name has at most 15 characters: hr, six of the id, and for a cable -100."""
    return f"hr{identity[:6]}"


def is_link_of(identity: str) -> Callable[[str], bool]:
    pattern = re.compile(rf"{bridge_name(identity)}(-\d+)?")
    return lambda name: pattern.fullmatch(name) is not None


def cgroup_tops(mounts: Iterable[str], identity: str) -> list[str]:
    """Folders of a cluster's control groups, one a mounted hierarchy."""
    return [f"{mount}/headrace-{identity}" for mount in mounts]


def make_cluster(
    request: Request,
    *,
    identity: str,
    maker: Process | None,
    folder: Path,
    prefix: str,
    hierarchies: Sequence[Hierarchy],
) -> Cluster:
    """``prefix``: three numbers of an IPv4 network that nobody here uses: "10.85.0"."""
    return Cluster(
        id=identity,
        phase="starting",
        maker=maker,
        folder=str(folder),
        prefix=prefix,
        request=request,
        head=Box(name=HEAD, address=f"{prefix}.254", link=f"{bridge_name(identity)}-0"),
        nodes=tuple(
            Box(
                name=f"n{number}",
                address=f"{prefix}.{number}",
                link=f"{bridge_name(identity)}-{number}",
            )
            for number in range(1, request.nodes + 1)
        ),
        hierarchies=tuple(hierarchies),
    )


def parse_hierarchies(mounts: str) -> list[Hierarchy]:
    """Those that Slurm uses, of /proc/mounts; version 2 has none of them."""
    found = []
    for line in mounts.splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup":
            own = [word for word in options.split(",") if word in (*_CONTROLLERS, "cpu")]
            if set(own) & set(_CONTROLLERS):
                found.append(Hierarchy(options=",".join(own), mount=where))
    have = {word for one in found for word in one.options.split(",")}
    return found if have >= set(_CONTROLLERS) else []


def parse_mounts(mounts: str) -> list[str]:
    """Where control groups are mounted, of /proc/mounts."""
    lines = [line.split() for line in mounts.splitlines()]
    return [where for _, where, kind, *_ in lines if kind in ("cgroup", "cgroup2")]


def free_prefix(routes: str) -> str | None:
    """The first of some private networks that no route of ``ip -4 route`` mentions."""
    for second in range(85, 100):
        if f"10.{second}." not in routes:
            return f"10.{second}.0"
    return None
