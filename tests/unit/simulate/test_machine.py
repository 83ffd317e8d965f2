"""A cluster in short form, and a trace put onto another cluster."""

import pytest

from headrace.schedule.cluster import Cluster, NodeSpec, Partition
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request
from headrace.simulate.errors import ClusterInvalid
from headrace.simulate.machine import onto, parse_cluster
from headrace.simulate.trace import Trace, TraceJob


def test_nodes_of_so_many_gpus() -> None:
    nodes = parse_cluster("321x8gpu").nodes
    assert (len(nodes), nodes[0].name, nodes[-1].name) == (321, "n1", "n321")
    assert (nodes[0].gpus, nodes[0].cpus) == ((("gpu", 8),), 128)


def test_a_type_of_gpu_may_begin_with_a_digit() -> None:
    (node,) = parse_cluster("1x3090:8").nodes
    assert node.gpus == (("3090", 8),)


def test_groups_name_types_cpus_and_memory() -> None:
    gpu, cpu = parse_cluster("1xH100:8,96cpu,1T + 1x128cpu,512G").nodes
    assert (gpu.gpus, gpu.cpus, gpu.memory_bytes) == ((("H100", 8),), 96, 1 << 40)
    assert (cpu.gpus, cpu.cpus, cpu.memory_bytes) == ((), 128, 512 << 30)


@pytest.mark.parametrize(
    "text", ["", "8gpu", "0x8gpu", "4x", "4x8tpu", "999999x1gpu", "2x512G", "3x8gpu+", "١x8gpu"]
)
def test_what_is_no_cluster_is_refused_with_one_that_is(text: str) -> None:
    with pytest.raises(ClusterInvalid) as caught:
        parse_cluster(text)
    assert parse_cluster(caught.value.nearest).nodes


def trace_of(**fields: object) -> Trace:
    request = Request(gpus_per_node=1, gpu_type="a100")
    job = Queued(id="1", request=request, submitted_s=0, **fields)  # type: ignore[arg-type]
    return Trace(name="t", jobs=(TraceJob(job=job, run_s=1),))


def test_names_the_cluster_lacks_are_left_out_and_said() -> None:
    trace = onto(trace_of(partitions=("gpu",), constraint="ib&fast"), parse_cluster("2x8gpu"))
    job = trace.jobs[0].job
    assert (job.partitions, job.constraint, job.request.gpu_type) == ((), None, None)
    assert trace.notes == (
        "1 job named a partition that this cluster lacks; it was left out: gpu",
        "1 job named a feature that this cluster lacks; it was left out: ib&fast",
        "1 job named a GPU type that this cluster lacks; it was left out: a100",
    )


def test_names_the_cluster_has_stay() -> None:
    node = NodeSpec(name="n", cpus=1, gpus=(("NVIDIA A100", 8),), features=("ib", "fast"))
    cluster = Cluster(nodes=(node,), partitions=(Partition(name="gpu"),))
    before = trace_of(partitions=("gpu",), constraint="ib&fast")
    after = onto(before, cluster)
    assert (after.jobs, after.notes, after.cluster) == (before.jobs, (), cluster)
