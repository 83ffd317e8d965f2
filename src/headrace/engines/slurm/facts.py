"""What a cluster is like: its limits, partitions and nodes. Asked for once in a quarter of an hour.

Everything here is what any user may ask scontrol and sinfo for; a site without accounting or
slurmrestd is as good as any.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from headrace.core.errors import HeadraceError
from headrace.core.records import DecodeError, Record, read_record, write_record
from headrace.engines.slurm import commands
from headrace.engines.slurm.call import Call
from headrace.engines.slurm.hostlist import expand
from headrace.engines.slurm.rows import (
    NodeRow,
    parse_config,
    parse_fields,
    parse_limit_s,
    parse_nodes,
    parse_seconds,
    whole,
)
from headrace.schedule.capacity import Capacity, Cpu, Gpu

FACTS_FRESH_S = 900.0


class PartitionFacts(Record, frozen=True, kw_only=True):
    """None: not limited, or not set. ``preempt_mode``: upper case, may name several.

    ``default_memory``: as in ``Facts``, where the partition sets it for itself.
    ``tier``: jobs in a partition of a higher one go first, whatever their priority. ``qos``: the
    partition's own, whose limits hold beside those of a job's QOS; "" for none.
    """

    name: str
    default: bool = False
    max_time_s: float | None = None
    default_time_s: float | None = None
    grace_s: float = 0.0
    preempt_mode: str = "OFF"
    max_nodes: int | None = None
    state: str = "UP"
    nodes: tuple[str, ...] = ()
    cpus: int = 0
    tier: int = 1
    qos: str = ""
    default_memory: bool = False


class QosFacts(Record, frozen=True, kw_only=True):
    """``preempt_mode``: upper case; CLUSTER is that of the cluster. ``preempts``: QOS by name."""

    name: str
    grace_s: float = 0.0
    preempt_mode: str = "CLUSTER"
    preempts: tuple[str, ...] = ()


class Facts(Record, frozen=True, kw_only=True):
    """``accounting``: whether sacct has anything to say. ``default_memory``: whether a job that
    asks for no memory gets a part of it, not all. Names are those of slurm.conf(5).

    ``qos``: empty where accounting says nothing of them. ``hidden``: what others may not see, such
    as jobs.
    """

    cluster: str
    version: str
    kill_wait_s: float
    max_array_size: int
    job_requeue: bool
    preempt_type: str
    preempt_mode: str
    send_user_signal: bool
    accounting: bool
    proctrack: str
    task_plugin: str
    default_memory: bool
    priority_type: str
    mpi_default: str = "none"
    hidden: tuple[str, ...] = ()
    qos: tuple[QosFacts, ...] = ()
    partitions: tuple[PartitionFacts, ...] = ()
    nodes: tuple[NodeRow, ...] = ()
    asked_s: float = 0.0

    def partition(self, name: str | None) -> PartitionFacts | None:
        """The first of those that ``name`` lists, else the default one."""
        wanted = name.partition(",")[0] if name else None
        return next(
            (one for one in self.partitions if one.name == wanted or (not wanted and one.default)),
            None,
        )

    def capacities(self, partition: str | None = None) -> list[Capacity]:
        """The nodes, each once; CPUs and GPUs have no numbers that mean anything to us."""
        wanted = set(partition.split(",")) if partition else set()
        named = {
            row.name: row for row in self.nodes if not wanted or row.partition.rstrip("*") in wanted
        }
        return [
            Capacity(
                name=row.name,
                address=row.name,
                cpus=tuple(Cpu(id=number) for number in range(row.cpus)),
                gpus=tuple(Gpu(id=number, kind=row.gpu_type) for number in range(row.gpus)),
                memory_bytes=row.memory_bytes,
                features=row.features,
            )
            for row in named.values()
        ]


def facts_of(
    config: Mapping[str, str], partitions: str, nodes: str, qos: str = "", *, now_s: float
) -> Facts:
    """From what four commands print. Pure."""
    hidden = config.get("PrivateData", "none")
    return Facts(
        cluster=config.get("ClusterName", "slurm"),
        version=config.get("SLURM_VERSION", ""),
        kill_wait_s=parse_seconds(config.get("KillWait", "30 sec")),
        max_array_size=int(config.get("MaxArraySize", "1001")),
        job_requeue=config.get("JobRequeue", "1") == "1",
        preempt_type=config.get("PreemptType", "(null)"),
        preempt_mode=config.get("PreemptMode", "OFF"),
        send_user_signal="preempt_send_user_signal" in config.get("SlurmctldParameters", ""),
        accounting=not config.get("AccountingStorageType", "none").endswith(("none", "(null)")),
        proctrack=config.get("ProctrackType", ""),
        task_plugin=config.get("TaskPlugin", ""),
        mpi_default=config.get("MpiDefault", "none"),
        default_memory=_default_memory(config),
        priority_type=config.get("PriorityType", "priority/basic"),
        hidden=() if hidden == "none" else tuple(hidden.split(",")),
        qos=tuple(_qos(line) for line in qos.splitlines() if line.count("|") >= 3),
        partitions=tuple(_partition(fields) for fields in parse_fields(partitions)),
        nodes=tuple(parse_nodes(nodes)),
        asked_s=now_s,
    )


def _partition(fields: Mapping[str, str]) -> PartitionFacts:
    most = fields.get("MaxNodes", "UNLIMITED")
    return PartitionFacts(
        name=fields.get("PartitionName", ""),
        default=fields.get("Default") == "YES",
        max_time_s=parse_limit_s(fields.get("MaxTime", "UNLIMITED")),
        default_time_s=parse_limit_s(fields.get("DefaultTime", "NONE")),
        grace_s=parse_seconds(fields.get("GraceTime", "0")),
        preempt_mode=fields.get("PreemptMode", "OFF").upper(),
        max_nodes=int(most) if most.isdigit() else None,
        state=fields.get("State", "UP"),
        nodes=tuple(expand(fields.get("Nodes", "").replace("(null)", ""))),
        cpus=whole(fields.get("TotalCPUs", "0")),
        tier=whole(fields.get("PriorityTier", "1")),
        qos=fields.get("QoS", "N/A").replace("N/A", ""),
        default_memory=_default_memory(fields),
    )


def _default_memory(fields: Mapping[str, str]) -> bool:
    """Of the whole cluster, or of a partition, whose DefMemPerGPU stands in its JobDefaults."""
    return "DefMemPerGPU=" in fields.get("JobDefaults", "") or any(
        fields.get(f"DefMemPer{what}", "UNLIMITED") not in ("UNLIMITED", "0")
        for what in ("Node", "CPU", "GPU")
    )


def _qos(line: str) -> QosFacts:
    name, grace, mode, preempts, *_ = line.split("|")
    return QosFacts(
        name=name,
        grace_s=parse_seconds(grace),
        preempt_mode=mode.upper() or "CLUSTER",
        preempts=tuple(filter(None, preempts.split(","))),
    )


def read_facts(
    path: Path,
    call: Call,
    *,
    now_s: Callable[[], float] = time.time,
    fresh_s: float = FACTS_FRESH_S,
) -> Facts:
    """From the file of an earlier command while they are fresh, else from Slurm.

    Raise ``SlurmUnreachable``.
    """
    with contextlib.suppress(OSError, DecodeError):
        known = read_record(path, Facts)
        if 0 <= now_s() - known.asked_s < fresh_s:
            return known
    config = parse_config(call(commands.show_config()))
    partitions, nodes = call(commands.show_partitions()), call(commands.sinfo())
    facts = facts_of(config, partitions, nodes, now_s=now_s())
    if facts.accounting:
        with contextlib.suppress(HeadraceError):
            facts = facts_of(config, partitions, nodes, call(commands.show_qos()), now_s=now_s())
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_record(path, facts)
    return facts


def addresses(text: str, nodes: Sequence[str]) -> dict[str, str]:
    """Node -> its NodeAddr in ``scontrol --oneliner show node``; its name where that is unset."""
    found = {
        fields["NodeName"]: fields.get("NodeAddr", "")
        for fields in parse_fields(text)
        if "NodeName" in fields
    }
    return {node: found.get(node) or node for node in nodes}
