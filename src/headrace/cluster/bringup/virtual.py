"""The site that a virtual cluster is: the same files as for real hardware, other values. Pure.

Times are short, so that a requeue, a dead node or a kill is over in seconds; the reference page
says what Slurm's defaults would cost.
"""

from headrace.cluster.bringup.errors import PartitionInvalid
from headrace.cluster.bringup.plan import HEAD, Cluster, Request
from headrace.cluster.bringup.site import (
    Accounting,
    GpuSet,
    Nodes,
    Partition,
    Places,
    Site,
    Switch,
    Timing,
)
from headrace.core.records import Record

GPU_TYPE = "virtual"
NODES_PER_SWITCH = 2


class Hardware(Record, frozen=True, kw_only=True):
    """What this machine has; every node of the cluster shows the same CPUs."""

    sockets: int
    cores: int
    threads: int
    memory_mib: int


def site_of(cluster: Cluster, hardware: Hardware) -> Site:
    request = cluster.request
    own = hardware.threads if request.cpus_per_node is None else request.cpus_per_node
    proctrack = request.proctrack or ("cgroup" if cluster.hierarchies else "linuxproc")
    return Site(
        cluster="virtual",
        controller=HEAD,
        controller_address=cluster.head.address,
        slurm_user="root",
        nodes=(_nodes(cluster, hardware),),
        partitions=tuple(parse_partitions(request.partitions, request.nodes)),
        switches=switches(request.nodes),
        accounting=Accounting(host=HEAD, address=cluster.head.address, storage_user="root"),
        places=Places(
            state=str(cluster.path("slurmctld")),
            spool=str(cluster.path("spool")),
            log=str(cluster.path("log")),
            munge_socket=str(cluster.path("run", "munge.socket")),
            scratch=str(cluster.path("run")),
        ),
        timing=Timing(slurmd_timeout_s=15, kill_wait_s=10, credential_s=5),
        proctrack=proctrack,
        cgroup_plugin="cgroup/v1",
        bind_cores=own == hardware.threads,
        trust_nodes=True,
        returns=True,
        max_array_size=10_001,
    )


def _nodes(cluster: Cluster, hardware: Hardware) -> Nodes:
    request = cluster.request
    gpus = request.gpus_per_node
    shape = _cores(hardware) if request.cpus_per_node is None else (1, request.cpus_per_node, 1)
    return Nodes(
        names=names(1, request.nodes),
        addresses=f"{cluster.prefix}.{_range(1, request.nodes)}",
        sockets=shape[0],
        cores_per_socket=shape[1],
        threads_per_core=shape[2],
        memory_mib=request.memory_mib or hardware.memory_mib * 9 // 10 // request.nodes,
        gpus=(GpuSet(type=GPU_TYPE, count=gpus, files=f"/dev/nvidia{_range(0, gpus - 1)}"),)
        if gpus
        else (),
    )


def _cores(hardware: Hardware) -> tuple[int, int, int]:
    """Sockets, cores, threads; one flat socket where they do not multiply (a part of a machine)."""
    per_socket = hardware.cores // max(1, hardware.sockets)
    per_core = hardware.threads // max(1, hardware.cores)
    if hardware.sockets * per_socket * per_core == hardware.threads:
        return hardware.sockets, per_socket, per_core
    return 1, hardware.threads, 1


def names(first: int, last: int) -> str:
    return f"n{_range(first, last)}"


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"[{first}-{last}]"


def switches(nodes: int) -> tuple[Switch, ...]:
    """A leaf per two nodes, a spine above them: enough for placement to matter."""
    firsts = range(1, nodes + 1, NODES_PER_SWITCH)
    leaves = [
        Switch(name=f"leaf{number}", nodes=names(first, min(first + NODES_PER_SWITCH - 1, nodes)))
        for number, first in enumerate(firsts, start=1)
    ]
    if len(leaves) == 1:
        return tuple(leaves)
    return (*leaves, Switch(name="spine", switches=f"leaf[1-{len(leaves)}]"))


def parse_partitions(text: str, nodes: int) -> list[Partition]:
    """``main,short=1-2@10:00``: NAME[=NODES][@TIME], the first is the default one.

    Raise ``PartitionInvalid``.
    """
    found: list[Partition] = []
    for word in text.split(","):
        rest, _, time = word.strip().partition("@")
        name, _, span = rest.partition("=")
        first, _, last = span.partition("-")
        if not name.isidentifier() or name in {one.name for one in found}:
            raise PartitionInvalid(word, "its name is not one word, or stands twice")
        if span and not (first.isdigit() and (last or first).isdigit()):
            raise PartitionInvalid(word, f'"{span}" is not a range of node numbers')
        low, high = (int(first), int(last or first)) if span else (1, nodes)
        if not 1 <= low <= high <= nodes:
            raise PartitionInvalid(word, f"there are nodes 1 to {nodes}")
        if time and not set(time) <= set("0123456789-:"):
            raise PartitionInvalid(word, f'"{time}" is not a time as Slurm writes it')
        found.append(
            Partition(
                name=name,
                nodes=names(low, high),
                default=not found,
                max_time=time or "1-0",
                default_time=time or "1:00:00",
            )
        )
    return found


def accounts_commands(request: Request) -> list[list[str]]:
    """sacctmgr's arguments, in order. Two accounts of unequal share, three QOS, every user.

    ``high`` takes the place of ``normal`` and ``low``, ``normal`` that of ``low``.
    """
    qos = "qos=normal,high,low"
    commands = [
        ["add", "cluster", "virtual"],
        ["add", "qos", "low", "priority=0", "preemptmode=requeue"],
        ["modify", "qos", "normal", "set", "priority=100", "preempt=low", "preemptmode=requeue"],
        ["add", "qos", "high", "priority=1000", "preempt=normal,low", "preemptmode=requeue"],
        ["modify", "account", "root", "set", qos],
        ["add", "account", "lab1", "cluster=virtual", "fairshare=3", "description=lab1"],
        ["add", "account", "lab2", "cluster=virtual", "fairshare=1", "description=lab2"],
    ]
    users = ",".join(dict.fromkeys(request.users))
    if users:
        commands += [
            ["add", "user", users, "account=lab1,lab2", "defaultaccount=lab1", "fairshare=parent"],
        ]
    return commands
