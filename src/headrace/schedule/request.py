"""What a run asks for, in numbers: the node count and the size of each node's slice."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headrace.core.records import Record
from headrace.core.units import format_bytes
from headrace.schedule.capacity import Capacity, is_kind

if TYPE_CHECKING:
    from headrace.spec.job import JobSpec


class Request(Record, frozen=True, kw_only=True):
    """From ``nodes_min`` to ``nodes_max`` equal slices, each on a node of its own.

    ``memory_bytes`` is per node; None means that memory is not accounted for.
    """

    nodes_min: int = 1
    nodes_max: int = 1
    ranks_per_node: int = 1
    cpus_per_rank: int = 1
    gpus_per_node: int = 0
    gpu_type: str | None = None
    memory_bytes: int | None = None

    @property
    def cpus_per_node(self) -> int:
        return self.ranks_per_node * self.cpus_per_rank


def request_of(spec: "JobSpec", nodes: Sequence[Capacity]) -> Request:
    """Fill in what the job leaves open.

    Ranks per node: one a GPU, else one. CPUs per rank: one without GPUs, else the rank's share of
    its node's CPUs, reckoned on the node with the fewest CPUs a GPU.
    """
    asked = spec.gpus_per_node
    gpus, gpu_type = (0, None) if asked is None else (asked.count, asked.type)
    ranks = spec.ranks_per_node or gpus or 1
    return Request(
        nodes_min=spec.nodes.min,
        nodes_max=spec.nodes.max,
        ranks_per_node=ranks,
        cpus_per_rank=spec.cpus_per_rank or _cpus_per_rank(gpus, gpu_type, ranks, nodes),
        gpus_per_node=gpus,
        gpu_type=gpu_type,
        memory_bytes=spec.memory_bytes,
    )


def _cpus_per_rank(gpus: int, gpu_type: str | None, ranks: int, nodes: Sequence[Capacity]) -> int:
    shares = [
        len(node.cpus) * gpus // len(node.gpus)
        for node in nodes
        if sum(is_kind(gpu, gpu_type) for gpu in node.gpus) >= gpus > 0
    ]
    return max(1, min(shares, default=1) // ranks)


def describe(request: Request) -> str:
    """ "2 nodes with 4 CPUs, 1 H100 GPU, 16G memory each"."""
    gpu_words = f"{request.gpu_type} GPU" if request.gpu_type else "GPU"
    parts = [_count(request.cpus_per_node, "CPU")]
    if request.gpus_per_node:
        parts.append(_count(request.gpus_per_node, gpu_words))
    if request.memory_bytes:
        parts.append(f"{format_bytes(request.memory_bytes)} memory")
    each = " each" if request.nodes_min > 1 else ""
    return f"{_count(request.nodes_min, 'node')} with {', '.join(parts)}{each}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
