"""What a waiting run could ask for instead, so as to start sooner. Each is a run submitted anew."""

from collections.abc import Iterator

from headrace.core.records import Record, replace
from headrace.core.units import DAY_S, HOUR_S, MINUTE_S, format_duration
from headrace.schedule.cluster import Cluster, Partition
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request

ANY = "any"
_ROUND_S = (
    *(10, 20, 30, MINUTE_S, 2 * MINUTE_S, 5 * MINUTE_S, 10 * MINUTE_S, 15 * MINUTE_S),
    *(30 * MINUTE_S, 45 * MINUTE_S),
    *(hours * HOUR_S for hours in (1, 2, 3, 4, 6, 8, 10, 11, 12, 16, 18, 20)),
    *(days * DAY_S for days in (1, 2, 3, 4, 5, 6, 7, 10, 14, 21, 28)),
)
_OTHERS = 4  # partitions, or GPU types, that are tried


class Change(Record, frozen=True, kw_only=True):
    """None: as it is. ``gpu_type``: "any" is no type in particular."""

    nodes: int | None = None
    limit_s: float | None = None
    partition: str | None = None
    gpu_type: str | None = None
    gpus_per_node: int | None = None


def changed(job: Queued, change: Change, now_s: float) -> Queued:
    """The run as it would be submitted instead."""
    request, gpus = job.request, change.gpus_per_node
    if change.nodes is not None:
        rigid = request.nodes_max == request.nodes_min
        most = change.nodes if rigid else request.nodes_max
        request = replace(request, nodes_min=change.nodes, nodes_max=most)
    if change.gpu_type is not None:
        request = replace(request, gpu_type=None if change.gpu_type == ANY else change.gpu_type)
    if gpus is not None:
        one_a_gpu = request.ranks_per_node == request.gpus_per_node
        ranks = gpus if one_a_gpu else request.ranks_per_node
        request = replace(request, gpus_per_node=gpus, ranks_per_node=ranks)
    return replace(
        job,
        request=request,
        submitted_s=now_s,
        limit_s=job.limit_s if change.limit_s is None else change.limit_s,
        partitions=job.partitions if change.partition is None else (change.partition,),
        begin_s=None,
        after=(),
        array_id=None,
        array_throttle=None,
        resize_to=None,
    )


def words(change: Change) -> str:
    """ "6 nodes and 11h"."""
    found = []
    if change.nodes is not None:
        found.append("1 node" if change.nodes == 1 else f"{change.nodes} nodes")
    if change.gpus_per_node is not None:
        gpus = "1 GPU" if change.gpus_per_node == 1 else f"{change.gpus_per_node} GPUs"
        found.append(f"{gpus} a node")
    if change.gpu_type is not None:
        found.append("any type of GPU" if change.gpu_type == ANY else f"{change.gpu_type} GPUs")
    if change.partition is not None:
        found.append(f"partition {change.partition}")
    if change.limit_s is not None:
        found.append(format_duration(int(change.limit_s)))
    return " and ".join(found)


def given_up(job: Queued, change: Change) -> float:
    """How much the change takes away, from 0 to 1, to find the smallest. Node-seconds and GPUs
    count as what they are a part of; another place costs little."""
    return given_up_of(job.request, job.limit_s, change)


def given_up_of(request: Request, limit_s: float | None, change: Change) -> float:
    """The same of any run that asks for this."""
    kept = 1.0
    if change.nodes is not None:
        kept *= change.nodes / request.nodes_min
    if change.gpus_per_node is not None:
        kept *= change.gpus_per_node / request.gpus_per_node
    if change.limit_s is not None:
        kept *= change.limit_s / (limit_s or 2 * max(change.limit_s, _ROUND_S[-1]))
    elsewhere = (change.partition is not None) + (change.gpu_type is not None)
    return 1.0 - kept + 0.05 * elsewhere


def shorter(job: Queued) -> list[float]:
    """Round time limits below its own, ascending."""
    return [float(one) for one in _ROUND_S if job.limit_s is None or one < job.limit_s]


def shorter_than(limit_s: float | None, most_s: float) -> float | None:
    """The longest round time limit up to ``most_s`` that is below ``limit_s``."""
    fitting = (one for one in _ROUND_S if one <= most_s and (limit_s is None or one < limit_s))
    return max(map(float, fitting), default=None)


def fewer(count: int) -> list[int]:
    return list(range(1, count))


def elsewhere(job: Queued, cluster: Cluster) -> Iterator[Change]:
    """Other partitions that take it, other types of GPU that there are."""
    here = job.partitions or tuple(one.name for one in cluster.partitions if one.default)
    others = [one for one in cluster.partitions if one.name not in here]
    for partition in [one for one in others if takes(one, job, cluster)][:_OTHERS]:
        yield Change(partition=partition.name)
    if job.request.gpu_type is None:
        return
    yield Change(gpu_type=ANY)
    kinds = dict.fromkeys(kind for node in cluster.nodes for kind, _ in node.gpus)
    for kind in list(kinds)[:_OTHERS]:
        if kind.lower() != job.request.gpu_type.lower():
            yield Change(gpu_type=kind)


def takes(partition: Partition, job: Queued, cluster: Cluster) -> bool:
    """Whether the partition is for this account and QOS, and for runs of this size and limit."""
    if partition.allow_qos and job.qos not in partition.allow_qos:
        return False
    if partition.allow_accounts and not _accounts(job, cluster) & set(partition.allow_accounts):
        return False
    if partition.max_nodes is not None and job.request.nodes_min > partition.max_nodes:
        return False
    return partition.max_time_s is None or (
        job.limit_s is not None and job.limit_s <= partition.max_time_s
    )


def _accounts(job: Queued, cluster: Cluster) -> set[str]:
    """Its account and those above."""
    parents = {one.name: one.parent for one in cluster.accounts if one.user is None}
    found: set[str] = set()
    name: str | None = job.account
    while name is not None and name not in found:
        found.add(name)
        name = parents.get(name)
    return found
