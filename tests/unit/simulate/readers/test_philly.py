"""Philly's jobs, and the sizes of its virtual clusters."""

from collections import Counter

import pytest
from tests.shared import shared

from headrace.simulate.errors import RowInvalid
from headrace.simulate.machine import parse_cluster
from headrace.simulate.read import read_trace
from headrace.simulate.readers import philly

HEADER = "timestamp,duration,num_gpus,gpu_time,cluster\n"


def read_one(gpus: int) -> tuple[int, int]:
    text = HEADER + f"2017-10-09 07:01:55,66.0,{gpus},66.0,a1\n"
    (one,) = philly.read(text, name="p.csv").jobs
    return one.job.request.nodes_min, one.job.request.gpus_per_node


@pytest.mark.parametrize(
    ("gpus", "placed"), [(1, (1, 1)), (8, (1, 8)), (12, (2, 8)), (16, (2, 8)), (128, (16, 8))]
)
def test_a_job_sits_on_one_node_or_fills_nodes(gpus: int, placed: tuple[int, int]) -> None:
    assert read_one(gpus) == placed


def test_jobs_stand_in_order_of_submission() -> None:
    later = "2017-10-09 07:01:55,66.0,1,66.0,a1\n"
    sooner = "2017-10-08 07:01:55,5.0,1,5.0,a1\n"
    trace = philly.read(HEADER + later + sooner, name="p.csv")
    assert [one.run_s for one in trace.jobs] == [5.0, 66.0]


def test_with_the_sizes_of_its_vcs_each_is_a_partition_of_its_own_nodes() -> None:
    text = HEADER + "2017-10-09 07:01:55,66.0,1,66.0,a1\n2017-10-09 07:01:55,66.0,1,66.0,gone\n"
    sizes = philly.read_vc_nodes("vc,node num\na1,3\nb2,1\n", name="vc.csv")
    trace = philly.read(text, name="p.csv", vc_nodes=sizes)
    assert [one.job.partitions for one in trace.jobs] == [("a1",), ()]
    assert trace.cluster is not None
    assert Counter(len(one.nodes) for one in trace.cluster.partitions) == {3: 1, 1: 1}


def test_a_missing_column_is_refused_with_its_name() -> None:
    with pytest.raises(RowInvalid, match="header") as caught:
        philly.read("timestamp,duration,cluster\n", name="p.csv")
    assert "num_gpus" in caught.value.why


def test_philly_is_read_whole() -> None:
    path = shared("traces", "philly", "philly_jobs.csv.xz")
    trace = read_trace(path, cluster=parse_cluster("321x8gpu"))
    gpus = Counter(one.job.request.nodes_max * one.job.request.gpus_per_node for one in trace.jobs)
    assert len(trace.jobs) == 82_247
    assert (gpus[1], gpus[8], gpus[32]) == (76_627, 1_643, 67)
    assert trace.cluster is not None
    assert len(trace.cluster.nodes) == 321


def test_phillys_vcs_are_taken_from_the_file_beside_it() -> None:
    trace = read_trace(shared("traces", "philly", "philly_jobs.csv.xz"))
    assert trace.cluster is not None
    assert len(trace.cluster.nodes) == 352
    assert len(trace.cluster.partitions) == 11
