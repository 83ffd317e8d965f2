"""What a run takes, and what it is charged a second.

Slurm's billing: the sum of each trackable resource times its weight in the partition, or with the
flag MAX_TRES the greatest of them; times the usage factor of the run's QOS. Slices are of equal
size, so the greatest of a node is the greatest of the run.
"""

from typing import NamedTuple

from headrace.schedule.cluster import Cluster, Partition, Tres
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request


class Amounts(NamedTuple):
    """Named as in ``Tres``. Memory in bytes."""

    cpu: float
    gpu: float
    node: float
    memory: float


def amounts_of(request: Request, nodes: int) -> Amounts:
    """What the run takes when it gets ``nodes`` slices."""
    cpus = request.ranks_per_node * request.cpus_per_rank
    memory_bytes = request.memory_bytes or 0
    return Amounts(cpus * nodes, request.gpus_per_node * nodes, nodes, memory_bytes * nodes)


def billing_of(amounts: Amounts, weights: Tres, *, greatest: bool = False) -> float:
    """The run's billing; ``greatest`` is Slurm's MAX_TRES. Memory is weighed by the byte."""
    parts = [
        amount * weight
        for amount, weight in zip(amounts, tres_of(weights), strict=True)
        if weight is not None
    ]
    return max(parts, default=0.0) if greatest else float(sum(parts))


def tres_of(values: Tres) -> tuple[float | None, float | None, float | None, float | None]:
    """The values in the order of ``Amounts``."""
    return (values.cpu, values.gpu, values.node, values.memory)


class Bills:
    """The charges of a cluster. A run that names several partitions is charged as in the first."""

    def __init__(self, cluster: Cluster) -> None:
        self._greatest = cluster.weights.max_tres
        self._partitions = {one.name: one.billing for one in cluster.partitions}
        default = next((one for one in cluster.partitions if one.default), Partition(name=""))
        self._default = default.billing
        self._factors = {one.name: one.usage_factor for one in cluster.qos}

    def billing(self, job: Queued, nodes: int) -> float:
        weights = self._default
        if job.partitions:
            weights = self._partitions.get(job.partitions[0], weights)
        return billing_of(amounts_of(job.request, nodes), weights, greatest=self._greatest)

    def factor(self, job: Queued) -> float:
        """The usage factor of its QOS."""
        return self._factors.get(job.qos, 1.0)

    def rate(self, job: Queued, nodes: int) -> float:
        """What its association is charged each second that it runs on ``nodes`` nodes."""
        return self.billing(job, nodes) * self.factor(job)
