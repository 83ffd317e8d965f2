"""Alibaba's openb pods and nodes."""

from tests.shared import shared

from headrace.core.states import State
from headrace.simulate.read import read_trace
from headrace.simulate.readers import openb
from headrace.simulate.trace import TraceJob

HEADER = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,"
    "creation_time,deletion_time,scheduled_time\n"
)


def pod(row: str) -> TraceJob:
    (one,) = openb.read(HEADER + row + "\n", name="pods.csv").jobs
    return one


def test_a_pod_is_one_slice_of_a_node() -> None:
    one = pod("p1,6000,12288,2,1000,T4,LS,Running,100,500,130")
    request = one.job.request
    assert (request.nodes_max, request.cpus_per_node, request.gpus_per_node) == (1, 6, 2)
    assert (request.memory_bytes, request.gpu_type) == (12 << 30, "T4")
    assert (one.job.submitted_s, one.start_s, one.run_s) == (100, 130, 370)


def test_a_part_of_a_gpu_or_cpu_rounds_up_and_a_note_says_so() -> None:
    trace = openb.read(HEADER + "p1,3152,5600,1,460,,BE,Failed,1,9,2\n", name="pods")
    request = trace.jobs[0].job.request
    assert (request.cpus_per_node, request.gpus_per_node) == (4, 1)
    assert trace.jobs[0].state is State.FAILED
    assert "1 job asked for a part of a GPU; each holds a whole one here" in trace.notes


def test_several_models_are_features_of_nodes() -> None:
    one = pod("p1,6000,12288,1,1000,V100M16|V100M32,LS,Running,100,500,130")
    assert (one.job.constraint, one.job.request.gpu_type) == ("V100M16|V100M32", None)
    nodes = "sn,cpu_milli,memory_mib,gpu,model\nn1,64000,262144,2,V100M16\nn2,32000,1024,0,\n"
    first, second = openb.read_nodes(nodes, name="nodes.csv").nodes
    assert (first.features, first.gpus, first.cpus) == (("V100M16",), (("V100M16", 2),), 64)
    assert (second.features, second.gpus) == ((), ())


def test_a_pod_that_never_started_is_deleted_when_history_did() -> None:
    one = pod("p1,6000,12288,1,1000,,BE,Pending,100,500,")
    assert (one.state, one.cancelled_s, one.start_s, one.run_s) == (State.CANCELLED, 500, None, 0)


def test_openb_is_read_whole_on_the_nodes_beside_it() -> None:
    trace = read_trace(shared("traces", "alibaba", "openb_pod_list_default.csv.xz"))
    assert len(trace.jobs) == 8152
    assert trace.cluster is not None
    assert len(trace.cluster.nodes) == 1213
    assert sum(count for node in trace.cluster.nodes for _, count in node.gpus) == 6212
