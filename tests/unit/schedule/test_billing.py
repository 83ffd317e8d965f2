"""Billing against the examples of Slurm's own page on multifactor priority."""

import pytest

from headrace.schedule.billing import Amounts, Bills, amounts_of, billing_of
from headrace.schedule.cluster import Cluster, Partition, Qos, Tres, Weights
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request

GIB = 1 << 30
CPU_AND_MEMORY = Tres(cpu=1.0, memory=0.25 / GIB)


@pytest.mark.parametrize(
    ("cpus", "memory_gib", "billing"), [(1, 60, 16.0), (16, 1, 16.25), (16, 60, 31.0)]
)
def test_billing_is_the_weighted_sum(cpus: int, memory_gib: int, billing: float) -> None:
    assert billing_of(Amounts(cpus, 0, 1, memory_gib * GIB), CPU_AND_MEMORY) == billing


@pytest.mark.parametrize(
    ("cpus", "memory_gib", "billing"), [(1, 60, 15.0), (15, 1, 15.0), (16, 64, 16.0)]
)
def test_max_tres_bills_the_greatest(cpus: int, memory_gib: int, billing: float) -> None:
    amounts = Amounts(cpus, 0, 1, memory_gib * GIB)
    assert billing_of(amounts, CPU_AND_MEMORY, greatest=True) == billing


def test_a_run_takes_its_slice_once_a_node() -> None:
    request = Request(ranks_per_node=4, cpus_per_rank=2, gpus_per_node=4, memory_bytes=GIB)
    assert amounts_of(request, 3) == Amounts(24, 12, 3, 3 * GIB)


def test_a_run_is_charged_as_in_its_first_partition_times_its_qos() -> None:
    cluster = Cluster(
        nodes=(),
        partitions=(
            Partition(name="cpu", default=True),
            Partition(name="gpu", billing=Tres(cpu=0.5, gpu=10.0)),
        ),
        qos=(Qos(name="cheap", usage_factor=0.5),),
    )
    bills = Bills(cluster)
    request = Request(cpus_per_rank=8, gpus_per_node=2)
    job = Queued(id="a", request=request, submitted_s=0.0)
    assert bills.rate(job, 2) == 16.0
    in_gpu = Queued(
        id="b", request=request, submitted_s=0.0, partitions=("gpu", "cpu"), qos="cheap"
    )
    assert bills.billing(in_gpu, 2) == 48.0
    assert bills.rate(in_gpu, 2) == 24.0


def test_without_partitions_cpus_are_charged() -> None:
    bills = Bills(Cluster(nodes=(), weights=Weights(max_tres=True)))
    job = Queued(id="a", request=Request(cpus_per_rank=3), submitted_s=0.0)
    assert bills.rate(job, 4) == 12.0
