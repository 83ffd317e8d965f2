"""The cluster with nodes added or taken away: ``+16``, ``+4:a100``, ``-8``."""

import re
from collections import Counter
from collections.abc import Sequence

from headrace.core.errors import UsageError
from headrace.core.records import replace
from headrace.schedule.capacity import is_kind_name
from headrace.schedule.cluster import Cluster, NodeSpec

_CHANGE = re.compile(r"([+-]?)(\d{1,6})(?::([\w.-]+))?", re.ASCII)


class NodesInvalid(UsageError):
    """The change of the number of nodes is not one."""

    code = "HR-SIM-011"

    def __init__(self, text: str, why: str) -> None:
        super().__init__(f'"{text}" changes no nodes', why=why, remedy="--nodes +16")


def grow(cluster: Cluster, change: str | int) -> Cluster:
    """Added nodes are like the most common ones, or the most common with that type of GPU.

    They join the partitions of those they are like. ``-8`` takes the last eight of these away.
    A machine that is one divisible node (SWF knows processors only) gets that many more CPUs.
    Raise ``NodesInvalid``.
    """
    text = f"{change:+d}" if isinstance(change, int) else change.strip()
    found = _CHANGE.fullmatch(text)
    if found is None:
        raise NodesInvalid(text, "it is +COUNT, +COUNT:GPU_TYPE or -COUNT")
    sign, count, kind = found[1], int(found[2]), found[3]
    if is_pool(cluster):
        return _pool(cluster, -count if sign == "-" else count, text)
    alike = _most_common(cluster.nodes, kind)
    if not alike:
        raise NodesInvalid(text, f"no node has {kind} GPUs" if kind else "the cluster has no nodes")
    return _without(cluster, alike, count, text) if sign == "-" else _with(cluster, alike, count)


def is_pool(cluster: Cluster) -> bool:
    return len(cluster.nodes) == 1 and cluster.nodes[0].divisible and not cluster.nodes[0].gpus


def size(cluster: Cluster) -> int:
    """Nodes, or the CPUs of a machine that is one divisible node."""
    return cluster.nodes[0].cpus if is_pool(cluster) else len(cluster.nodes)


def _pool(cluster: Cluster, more: int, text: str) -> Cluster:
    node = cluster.nodes[0]
    if node.cpus + more < 1 or ":" in text:
        raise NodesInvalid(text, f"the machine is one pool of {node.cpus} CPUs, without GPUs")
    return replace(cluster, nodes=(replace(node, cpus=node.cpus + more),))


def _most_common(nodes: Sequence[NodeSpec], kind: str | None) -> list[NodeSpec]:
    wanted = [
        node
        for node in nodes
        if kind is None or any(is_kind_name(name, kind) for name, _ in node.gpus)
    ]
    sorts = Counter(replace(node, name="", switch="") for node in wanted)
    if not sorts:
        return []
    sort = sorts.most_common(1)[0][0]
    return [node for node in wanted if replace(node, name="", switch="") == sort]


def _with(cluster: Cluster, alike: Sequence[NodeSpec], count: int) -> Cluster:
    taken = {node.name for node in cluster.nodes}
    names: list[str] = []
    number = 1
    while len(names) < count:
        if (name := f"added{number}") not in taken:
            names.append(name)
        number += 1
    more = tuple(replace(alike[0], name=name, switch="") for name in names)
    like = alike[0].name
    partitions = tuple(
        replace(one, nodes=(*one.nodes, *names)) if like in one.nodes else one
        for one in cluster.partitions
    )
    return replace(cluster, nodes=cluster.nodes + more, partitions=partitions)


def _without(cluster: Cluster, alike: Sequence[NodeSpec], count: int, text: str) -> Cluster:
    if count >= len(cluster.nodes) or count > len(alike):
        have = f"{len(alike)} of {len(cluster.nodes)} nodes are of that sort"
        raise NodesInvalid(text, f"some node must be left, and {have}")
    gone = {node.name for node in alike[len(alike) - count :]}
    nodes = tuple(node for node in cluster.nodes if node.name not in gone)
    partitions = []
    for one in cluster.partitions:
        left = tuple(name for name in one.nodes if name not in gone)
        if one.nodes and not left:
            raise NodesInvalid(text, f"partition {one.name} would have no node left")
        partitions.append(replace(one, nodes=left))
    return replace(cluster, nodes=nodes, partitions=tuple(partitions))
