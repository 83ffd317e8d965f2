"""Batsim's JSON workloads."""

import json
from typing import Any

import pytest
from tests.shared import shared

from headrace.core.states import State
from headrace.schedule.cluster import NodeSpec
from headrace.simulate.errors import RowInvalid
from headrace.simulate.read import read_trace
from headrace.simulate.readers import batsim


def workload(*jobs: dict[str, Any], nb_res: int | None = 4) -> str:
    profiles = {
        "ten": {"type": "delay", "delay": 10},
        "thrice": {"type": "composed", "repeat": 3, "seq": ["ten", "ten"]},
        "flops": {"type": "parallel_homogeneous", "cpu": 1e9, "com": 0},
        "ring": {"type": "composed", "seq": ["ring"]},
    }
    whole: dict[str, Any] = {"jobs": jobs, "profiles": profiles}
    return json.dumps(whole if nb_res is None else whole | {"nb_res": nb_res})


def job(**changes: object) -> dict[str, Any]:
    fields: dict[str, object] = {
        "id": 1,
        "subtime": 2.5,
        "res": 2,
        "walltime": 60,
        "profile": "ten",
    }
    return fields | changes


def test_a_job_asks_for_whole_machines_of_one_cpu() -> None:
    trace = batsim.read(workload(job()), name="w.json")
    (one,) = trace.jobs
    assert (one.job.id, one.job.submitted_s, one.job.limit_s, one.run_s) == ("1", 2.5, 60, 10)
    assert (one.job.request.nodes_min, one.job.request.nodes_max) == (2, 2)
    assert trace.cluster is not None
    assert trace.cluster.nodes == tuple(NodeSpec(name=str(i), cpus=1) for i in range(4))


def test_a_sequence_lasts_the_sum_of_its_parts() -> None:
    assert batsim.read(workload(job(profile="thrice")), name="w").jobs[0].run_s == 60


def test_a_job_past_its_walltime_is_stopped_there() -> None:
    (one,) = batsim.read(workload(job(walltime=4)), name="w").jobs
    assert (one.run_s, one.state) == (4, State.TIMEOUT)


def test_no_walltime_is_unlimited() -> None:
    assert batsim.read(workload(job(walltime=-1)), name="w").jobs[0].job.limit_s is None


def test_an_old_file_without_nb_res_has_as_many_machines_as_its_largest_job() -> None:
    trace = batsim.read(workload(job(), job(id="b", res=7), nb_res=None), name="w")
    assert trace.cluster is not None
    assert len(trace.cluster.nodes) == 7


@pytest.mark.parametrize("profile", ["flops", "ring", "absent"])
def test_a_profile_of_unknown_length_is_refused(profile: str) -> None:
    with pytest.raises(RowInvalid, match=r"jobs\[0\]\.profile"):
        batsim.read(workload(job(profile=profile)), name="w")


@pytest.mark.parametrize("text", ["{", "[1]", "{}", '{"jobs": 3, "profiles": {}}', "[" * 100_000])
def test_what_is_not_a_workload_is_refused(text: str) -> None:
    with pytest.raises(RowInvalid):
        batsim.read(text, name="w")


def test_the_oracles_workload_is_found_in_its_archive() -> None:
    trace = read_trace(shared("traces", "batsim_oracle", "medium_late.tar.xz"))
    assert (trace.name, len(trace.jobs)) == ("medium_late.json", 801)
    assert trace.cluster is not None
    assert len(trace.cluster.nodes) == 32


def test_the_papers_workload_is_read_whole() -> None:
    path = shared("traces", "batsim_oracle", "test_batsim_paper_workload_seed1.json.xz")
    assert len(read_trace(path).jobs) == 800
