"""Slurm's accounting dumps, and all that makes them hard to read."""

import tarfile

import pytest
from tests.shared import shared

from headrace.core.states import State
from headrace.schedule.cluster import Cluster, NodeSpec, Partition
from headrace.simulate.errors import RowInvalid
from headrace.simulate.readers import sacct
from headrace.simulate.readers.site import SlurmSite
from headrace.simulate.trace import Trace, TraceJob

DEFAULTS = {
    "JobIDRaw": "101",
    "JobID": "101",
    "User": "ada",
    "Account": "lab",
    "Partition": "gpu",
    "Constraints": "",
    "Submit": "2026-01-05T10:00:00",
    "Eligible": "2026-01-05T10:00:00",
    "Start": "2026-01-05T10:05:00",
    "End": "2026-01-05T11:05:00",
    "ElapsedRaw": "3600",
    "TimelimitRaw": "120",
    "State": "COMPLETED",
    "NNodes": "2",
    "ReqTRES": "billing=64,cpu=64,gres/gpu=16,mem=512G,node=2",
    "AllocTRES": "billing=64,cpu=64,gres/gpu:h100=16,gres/gpu=16,mem=512G,node=2",
    "NodeList": "n[1-2]",
    "JobName": "train",
    "SubmitLine": "sbatch train.sh",
}
WAITING = {"Start": "Unknown", "End": "Unknown", "ElapsedRaw": "0", "AllocTRES": ""}
NOWHERE = {"NodeList": "None assigned"}


def dump(*rows: dict[str, str], without: str = "") -> str:
    names = [name for name in DEFAULTS if name not in without.split()]
    lines = ["|".join((DEFAULTS | row)[name] for name in names) for row in rows]
    return "\n".join(["|".join(names), *lines]) + "\n"


def read(*rows: dict[str, str], without: str = "", site: SlurmSite | None = None) -> Trace:
    return sacct.read(dump(*rows, without=without), name="jobs.psv", site=site)


def only(*rows: dict[str, str], without: str = "", site: SlurmSite | None = None) -> TraceJob:
    (one,) = read(*rows, without=without, site=site).jobs
    return one


def test_a_job_is_what_it_was_given_and_what_became_of_it() -> None:
    one = only({})
    request = one.job.request
    assert (request.nodes_min, request.cpus_per_node, request.memory_bytes) == (2, 32, 256 << 30)
    assert (request.gpus_per_node, request.gpu_type) == (8, "h100")
    assert (one.run_s, one.job.limit_s, one.state) == (3600, 7200, State.COMPLETED)
    assert one.start_s is not None
    assert (one.start_s - one.job.submitted_s, one.allocated) == (300, "n[1-2]")
    assert (one.job.user, one.job.account, one.job.partitions) == ("ada", "lab", ("gpu",))


@pytest.mark.parametrize(
    ("tres", "gpus"),
    [
        ("cpu=8,gres/gpu=4,node=1", (4, None)),
        ("cpu=8,gres/gpu:a100=4,node=1", (4, "a100")),
        ("cpu=8,gres/gpu:a100=3,gres/gpu:v100=1,gres/gpu=4,node=1", (4, None)),
        ("cpu=8,node=1", (0, None)),
    ],
)
def test_gpus_stand_in_tres_with_and_without_a_type(
    tres: str, gpus: tuple[int, str | None]
) -> None:
    request = only({"AllocTRES": tres}).job.request
    assert (request.gpus_per_node, request.gpu_type) == gpus


@pytest.mark.parametrize(
    ("memory", "each_bytes"), [("2800Mc", 4 * 2800 << 20), ("8Gn", 8 << 30), ("16G", 8 << 30)]
)
def test_old_memory_is_of_a_cpu_or_a_node(memory: str, each_bytes: int) -> None:
    row = {"ReqTRES": "", "AllocTRES": ""}
    text = dump(row).replace("NNodes", "NNodes|NCPUS|ReqMem").replace("|2|||", f"|2|8|{memory}|||")
    (one,) = sacct.read(text, name="old").jobs
    assert one.job.request.memory_bytes == each_bytes


def test_the_column_that_was_renamed_in_21_08_is_not_needed() -> None:
    for name in ("Reserved", "Planned"):
        text = "".join(
            line + tail
            for line, tail in zip(dump({}).split("\n"), (f"|{name}\n", "|00:05:00"), strict=False)
        )
        assert len(sacct.read(text, name=name).jobs) == 1


def test_waits_count_from_eligible_and_a_note_says_how_often() -> None:
    trace = read({"Eligible": "2026-01-05T10:04:00"})
    (one,) = trace.jobs
    assert one.job.begin_s == one.job.submitted_s + 240
    assert any("their waits count from Eligible" in note for note in trace.notes)


@pytest.mark.parametrize(
    ("limit", "limit_s"), [("UNLIMITED", None), ("Partition_Limit", 60.0), ("5", 300.0)]
)
def test_time_limits_are_minutes_or_words(limit: str, limit_s: float | None) -> None:
    cluster = Cluster(
        nodes=(NodeSpec(name="n1", cpus=1),), partitions=(Partition(name="gpu", max_time_s=60.0),)
    )
    assert only({"TimelimitRaw": limit}, site=SlurmSite(cluster=cluster)).job.limit_s == limit_s


def test_without_raw_columns_the_shown_ones_are_read() -> None:
    row = {"JobID": "7", "ElapsedRaw": "", "TimelimitRaw": "1-02:00:00"}
    text = dump(row).replace("ElapsedRaw", "Elapsed").replace("TimelimitRaw", "Timelimit")
    (one,) = sacct.read(text.replace("|1-02", "1-00:00:01|1-02"), name="jobs").jobs
    assert (one.run_s, one.job.limit_s) == (86_401, 93_600)


def test_a_submit_line_may_hold_pipes_and_newlines() -> None:
    line = "sbatch --wrap=env | grep SLURM |\nwhile true; do\n  sleep 1\ndone | cat"
    trace = read({"SubmitLine": line}, {"JobIDRaw": "102", "JobID": "102"})
    assert [one.job.id for one in trace.jobs] == ["101", "102"]


def test_pipes_in_names_and_constraints_are_found_by_the_form_of_the_other_columns() -> None:
    trace = read(
        {"Constraints": "a100|h100", "JobName": "job_0||0002"},
        {"JobID": "102", "JobIDRaw": "102", "JobName": "a|b", "SubmitLine": "sbatch a|b"},
    )
    assert [one.job.constraint for one in trace.jobs] == ["a100|h100", None]


def test_a_count_of_nodes_for_each_feature_becomes_any_of_them() -> None:
    assert only({"Constraints": "[rack1*2&rack2*4]"}).job.constraint == "rack1|rack2"


def test_steps_are_not_jobs() -> None:
    assert len(read({}, *({"JobID": f"101.{step}"} for step in ("batch", "extern", "0"))).jobs) == 1


def test_elements_of_an_array_are_jobs_and_what_waits_of_it_tells_its_throttle() -> None:
    trace = read(
        {"JobID": "90_1", "JobIDRaw": "91"},
        {"JobID": "90_2", "JobIDRaw": "92"},
        {"JobID": "90_[3-9%4]", "JobIDRaw": "90", "State": "PENDING"} | WAITING,
    )
    assert [(one.job.id, one.job.array_id, one.job.array_throttle) for one in trace.jobs] == [
        ("90_1", "90", 4),
        ("90_2", "90", 4),
    ]
    assert "1 job had not started when the dump was made; left out" in trace.notes


def test_the_throttle_is_also_read_from_the_submit_line() -> None:
    one = only({"JobID": "90_1", "SubmitLine": "sbatch --array=1-9%3 a.sh"})
    assert one.job.array_throttle == 3


def test_parts_of_a_heterogeneous_job_are_jobs() -> None:
    trace = read({"JobID": "50+0", "JobIDRaw": "50"}, {"JobID": "50+1", "JobIDRaw": "51"})
    assert [one.job.id for one in trace.jobs] == ["50+0", "50+1"]
    assert any("heterogeneous" in note for note in trace.notes)


def test_a_job_cancelled_while_it_waited_never_starts() -> None:
    cancelled = {"State": "CANCELLED by 1000", "Start": "None", "End": "2026-01-05T12:00:00"}
    one = only(WAITING | cancelled | NOWHERE)
    assert (one.state, one.start_s, one.run_s) == (State.CANCELLED, None, 0)
    assert one.cancelled_s == one.job.submitted_s + 7200


def test_an_old_slurm_gives_a_cancelled_job_its_end_as_start() -> None:
    at = "2026-01-05T12:00:00"
    one = only(WAITING | NOWHERE | {"State": "CANCELLED by 1000", "Start": at, "End": at})
    assert (one.start_s, one.cancelled_s) == (None, one.job.submitted_s + 7200)


def test_a_job_held_until_it_was_cancelled_stays_held() -> None:
    cancelled = {"State": "CANCELLED by 7", "End": "2026-01-05T12:00:00", "Eligible": "Unknown"}
    assert only(WAITING | NOWHERE | cancelled).job.held


def test_a_job_cancelled_while_it_ran_held_its_nodes() -> None:
    one = only({"State": "CANCELLED by 1000"})
    assert (one.state, one.run_s, one.cancelled_s) == (State.CANCELLED, 3600, None)


def test_a_job_that_still_runs_ends_with_the_dump() -> None:
    trace = read({"State": "RUNNING", "End": "Unknown"})
    assert (trace.jobs[0].run_s, trace.jobs[0].state) == (3600, State.COMPLETED)
    assert any("still ran" in note for note in trace.notes)


def test_a_row_told_twice_is_one_job_and_the_ended_one_stands() -> None:
    ended: dict[str, str] = {}
    running = {"State": "RUNNING", "End": "Unknown", "ElapsedRaw": "60"}
    for rows in ((running, ended), (ended, running)):
        assert only(*rows).run_s == 3600


def test_a_requeued_job_held_nodes_each_time() -> None:
    again = {"Submit": "2026-01-05T12:00:00", "Start": "2026-01-05T12:10:00", "ElapsedRaw": "60"}
    trace = read({"State": "NODE_FAIL"}, again | {"Eligible": "2026-01-05T12:00:00"})
    assert [(one.job.id, one.run_s, one.state) for one in trace.jobs] == [
        ("101", 3600, State.NODE_FAIL),
        ("101#2", 60, State.COMPLETED),
    ]


def test_times_may_be_seconds_since_1970() -> None:
    row = {"Submit": "1767607200", "Eligible": "1767607200", "Start": "1767607230"}
    one = only(row)
    assert (one.job.submitted_s, one.start_s) == (1_767_607_200, 1_767_607_230)


def test_a_dump_with_a_bar_at_the_end_of_each_line_is_read() -> None:
    text = "\n".join(f"{line}|" for line in dump({}, {"JobIDRaw": "102"}).rstrip().split("\n"))
    assert len(sacct.read(text, name="p").jobs) == 2


def test_a_damaged_row_is_left_out_and_the_next_is_read() -> None:
    text = dump({}, *({"JobID": one, "JobIDRaw": one} for one in ("102", "103"))).split("\n")
    text[2] = text[2][:80]
    trace = sacct.read("\n".join(text), name="jobs")
    assert len(trace.jobs) == 2
    assert trace.notes[-1].startswith("1 of 3 lines could not be read and were left out; the first")


def test_a_dump_without_its_header_is_refused_with_the_command_that_makes_one() -> None:
    with pytest.raises(RowInvalid, match="header") as caught:
        sacct.read(dump({}).split("\n", 1)[1], name="jobs")
    assert "sacct -a -X -P" in caught.value.remedy


SAMPLES = {
    "sacct_simple.log": 4,
    "sacct_dump2101.log": 12,
    "sacct_dump2110.log": 1,
    "sacct_submitline_multiline.log": 2,
}


@pytest.mark.parametrize("sample", SAMPLES)
def test_recorded_dumps_are_read(sample: str) -> None:
    with tarfile.open(shared("traces", "slurm_ubccr", "sacct_samples.tar.xz")) as archive:
        member = archive.extractfile(sample)
        assert member is not None
        text = member.read().decode()
    trace = sacct.read(text, name=sample)
    assert len(trace.jobs) == SAMPLES[sample]
    assert all(one.job.user and one.job.account and one.job.partitions for one in trace.jobs)
    assert {one.job.constraint for one in trace.jobs} <= {
        *(None, "CPU-E5645", "cpu-a|cpu-b", "cpu-a|cpu-b|gpu"),
        "q06|q07|q08|q09|u22|u23|u24|u25",
    }
