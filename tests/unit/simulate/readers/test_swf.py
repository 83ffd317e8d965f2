"""The Standard Workload Format: fields, fallbacks, and what real files do."""

import pytest
from tests.shared import shared

from headrace.core.states import State
from headrace.simulate.errors import RowInvalid
from headrace.simulate.read import read_trace
from headrace.simulate.readers import swf

HEADER = "; Version: 2.2\n; UnixStartTime: 1000\n; MaxProcs: 64\n"


def line(**changes: object) -> str:
    fields = {
        **{"job": 7, "submit": 100, "wait": 20, "run": 300, "used": 4, "cpu": 290, "mem": -1},
        **{"asked": 8, "limit": 600, "asked_mem": -1, "status": 1, "user": 3, "group": 2},
        **{"exe": -1, "queue": 1, "partition": 1, "before": -1, "think": -1},
    }
    return " ".join(str(value) for value in (fields | changes).values()) + "\n"


def test_a_job_asks_for_processors_and_keeps_what_history_did_with_it() -> None:
    trace = swf.read(HEADER + line(), name="a.swf")
    (one,) = trace.jobs
    assert (one.job.id, one.job.submitted_s, one.job.limit_s) == ("7", 100, 600)
    assert (one.job.request.nodes_min, one.job.request.cpus_per_node) == (8, 1)
    assert (one.run_s, one.start_s, one.end_s) == (300, 120, 420)
    assert (one.job.user, one.job.account, one.state) == ("user3", "group2", State.COMPLETED)


def test_the_machine_is_one_divisible_node_of_the_headers_processors() -> None:
    trace = swf.read(HEADER + line(), name="a.swf")
    assert trace.cluster is not None
    (node,) = trace.cluster.nodes
    assert (node.cpus, node.divisible) == (64, True)


def test_without_a_requested_time_the_run_time_stands_in_and_a_note_says_so() -> None:
    trace = swf.read(HEADER + line(limit=-1), name="a.swf")
    assert trace.jobs[0].job.limit_s == 300
    assert any("perfect estimate" in note for note in trace.notes)


def test_processors_not_requested_are_those_used() -> None:
    trace = swf.read(HEADER + line(asked=-1), name="a.swf")
    assert trace.jobs[0].job.request.nodes_min == 4


def test_a_job_cancelled_while_it_waited_never_starts() -> None:
    trace = swf.read(HEADER + line(status=5, run=0, wait=50), name="a.swf")
    (one,) = trace.jobs
    assert (one.state, one.cancelled_s, one.start_s) == (State.CANCELLED, 150, None)


def test_a_failed_job_held_its_processors_too() -> None:
    trace = swf.read(HEADER + line(status=0), name="a.swf")
    assert (trace.jobs[0].state, trace.jobs[0].run_s) == (State.FAILED, 300)


def test_stretches_of_a_job_that_has_its_own_line_are_left_out() -> None:
    trace = swf.read(HEADER + line() + line(status=2) + line(status=3), name="a.swf")
    assert len(trace.jobs) == 1


def test_extra_columns_are_read_past() -> None:
    trace = swf.read(HEADER + line().rstrip() + " meta q@node nodespec\n", name="a.swf")
    assert len(trace.jobs) == 1


def test_a_damaged_line_is_counted_and_named() -> None:
    text = HEADER + line() + line(job=8).replace("8 100", "8 soon") + line(job=9)
    trace = swf.read(text, name="a.swf")
    assert [one.job.id for one in trace.jobs] == ["7", "9"]
    assert trace.notes[-1].startswith("1 of 3 lines could not be read")
    assert 'line 5: submit time: "soon": it is a number' in trace.notes[-1]


def test_a_file_that_is_mostly_damaged_is_refused_with_its_first_damage() -> None:
    with pytest.raises(RowInvalid) as caught:
        swf.read("what is\nthis\n1 2 3\n", name="a.swf")
    assert (caught.value.file, caught.value.line, caught.value.field) == ("a.swf", 1, "columns")


def test_hpc2n_is_read_whole() -> None:
    trace = read_trace(shared("traces", "swf", "hpc2n_seth_3188.swf.xz"))
    assert len(trace.jobs) == 3170
    assert trace.cluster is not None
    assert trace.cluster.nodes[0].cpus == 240


def test_lublin_is_read_whole_and_its_missing_limits_are_said() -> None:
    trace = read_trace(shared("traces", "swf", "lublin_256.swf.xz"))
    assert len(trace.jobs) == 10_000
    assert trace.notes == (
        "10,000 jobs named no time limit; their run time stood in for it, a perfect estimate",
    )
