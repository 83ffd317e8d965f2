"""What a replay leaves on the disk, and that others read it."""

import csv
from pathlib import Path

import pytest
from tests.oracles import batsim_starts
from tests.shared import shared

from headrace.schedule.policies import policy
from headrace.simulate.errors import TraceUnusable
from headrace.simulate.machine import parse_cluster
from headrace.simulate.read import read_trace
from headrace.simulate.readers import swf, table
from headrace.simulate.replay import Replay, replay
from headrace.simulate.write import batsim_jobs_csv, batsim_schedule_csv, save, starts_csv
from headrace.simulate.write import swf as write_swf

TABLE = """id,submit_s,run_s,nodes,limit_s,state,cancelled_s
a,0,100,2,200,COMPLETED,
b,1.5,50,1,60,TIMEOUT,
never,2,0,1,60,CANCELLED,3
large,3,10,9,60,COMPLETED,
"""
CLUSTER = parse_cluster("2x1cpu")


def replayed() -> Replay:
    trace = table.read(TABLE, name="t.csv")
    return replay(trace, policy("fifo"), cluster=CLUSTER, allocations=True)


def test_starts_are_written_for_every_job_and_empty_where_it_never_started() -> None:
    assert "".join(starts_csv(replayed())) == (
        "id,submit_s,start_s,end_s,allocated\n"
        "a,0.0,0.0,100.0,0-1\n"
        "b,1.5,100.0,150.0,0\n"
        "never,2.0,,,\n"
        "large,3.0,,,\n"
    )


def test_batsims_files_have_its_columns_and_its_means() -> None:
    rows = list(csv.DictReader("".join(batsim_jobs_csv(replayed())).splitlines()))
    assert [(row["job_id"], row["success"]) for row in rows] == [("a", "1"), ("b", "0")]
    assert rows[1]["waiting_time"] == "98.500000"
    assert rows[1]["allocated_resources"] == "0"
    (whole,) = csv.DictReader("".join(batsim_schedule_csv(replayed(), CLUSTER)).splitlines())
    assert (whole["makespan"], whole["nb_jobs_finished"]) == ("150.000000", "2")
    assert (whole["time_computing"], whole["mean_waiting_time"]) == ("250.000000", "49.250000")


def test_a_replay_as_swf_is_read_back() -> None:
    trace = swf.read("".join(write_swf(replayed(), CLUSTER)), name="r.swf")
    assert [one.job.id for one in trace.jobs] == ["1", "2", "3", "4"]
    assert [one.start_s for one in trace.jobs] == [0, 100, None, None]
    assert [one.run_s for one in trace.jobs[:2]] == [100, 50]


def test_files_are_whole_or_the_error_says_why(tmp_path: Path) -> None:
    save(tmp_path / "starts.csv", starts_csv(replayed()))
    assert (tmp_path / "starts.csv").read_text() == "".join(starts_csv(replayed()))
    with pytest.raises(TraceUnusable, match="cannot be written"):
        save(tmp_path / "absent" / "starts.csv", starts_csv(replayed()))


def test_the_oracles_means_come_out_of_its_own_workload() -> None:
    archive = shared("traces", "batsim_oracle", "medium_late.tar.xz")
    trace = read_trace(archive)
    assert trace.cluster is not None
    done = replay(trace, policy("easy"), allocations=True)
    expected = batsim_starts(archive, "easy")
    rows = csv.DictReader("".join(batsim_jobs_csv(done)).splitlines())
    found = {
        row["job_id"]: (float(row["starting_time"]), row["allocated_resources"]) for row in rows
    }
    assert found.keys() == expected.keys()
    assert max(abs(found[one][0] - expected[one][0]) for one in found) < 1e-3
    assert all(found[one][1] == expected[one][1] for one in found)
    (whole,) = csv.DictReader("".join(batsim_schedule_csv(done, trace.cluster)).splitlines())
    assert float(whole["mean_waiting_time"]) == pytest.approx(9.516326, abs=1e-4)
    assert float(whole["mean_slowdown"]) == pytest.approx(1.391621, abs=1e-4)
