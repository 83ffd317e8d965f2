"""Text of Slurm's commands, as releases from 22.05 to 25.11 print it."""

from datetime import datetime

import pytest

from headrace.engines.slurm.hostlist import expand, indices
from headrace.engines.slurm.rows import (
    parse_accounting,
    parse_config,
    parse_fields,
    parse_gres,
    parse_nodes,
    parse_queue,
    parse_seconds,
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n1", ["n1"]),
        ("n[1-3],gpu5", ["n1", "n2", "n3", "gpu5"]),
        ("n[08-10]", ["n08", "n09", "n10"]),
        ("rack[0-1]n[1,3]-ib", ["rack0n1-ib", "rack0n3-ib", "rack1n1-ib", "rack1n3-ib"]),
        ("", []),
    ],
)
def test_node_names_in_short_form_are_written_out(text: str, names: list[str]) -> None:
    assert expand(text) == names


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("N/A", ()),
        ("7", (7,)),
        ("0-3,8%2", (0, 1, 2, 3, 8)),
        ("[0-10:5]", (0, 5, 10)),
    ],
)
def test_elements_of_an_array_are_read_as_squeue_writes_them(
    text: str, found: tuple[int, ...]
) -> None:
    assert indices(text) == found


def test_the_queue_has_plain_jobs_elements_and_what_is_left_of_an_array() -> None:
    rows = parse_queue(
        "4711|4711|N/A|RUNNING|2026-11-25T10:00:00|2026-11-25T11:00:00|gpu|4294|2|n[1-2]|gpt|None\n"
        "4713|4712|1|COMPLETING|2026-11-25T10:00:00|N/A|gpu|1|1|n3|arr|None\n"
        "4712|4712|2-4%2|PENDING|N/A|N/A|gpu|1|1||arr|JobArrayTaskLimit\n"
        "4714|4714|N/A|PENDING|N/A|N/A|gpu|0|8||a|b|ReqNodeNotAvail, UnavailableNodes:n4\n"
    )
    assert [(row.job_id, row.array_job_id, row.elements) for row in rows] == [
        ("4711", "4711", ()),
        ("4713", "4712", (1,)),
        ("4712", "4712", (2, 3, 4)),
        ("4714", "4714", ()),
    ]
    assert rows[0].start_s == datetime(2026, 11, 25, 10).timestamp()
    assert rows[2].start_s is None
    assert (rows[3].name, rows[3].reason) == ("a|b", "ReqNodeNotAvail, UnavailableNodes:n4")


def test_accounting_gives_the_last_end_of_a_requeued_job_and_no_steps() -> None:
    rows = parse_accounting(
        "4711|NODE_FAIL|0:0|2026-11-25T10:00:00|2026-11-25T10:05:00\n"
        "4711|CANCELLED by 1000|0:15|2026-11-25T10:06:00|2026-11-25T10:07:00\n"
        "4711.batch|CANCELLED|0:15|2026-11-25T10:06:00|2026-11-25T10:07:00\n"
        "4712_2|FAILED|3:0|2026-11-25T10:06:00|2026-11-25T10:07:00\n"
    )
    assert [(row.job_id, row.state, row.exit_code, row.signal) for row in rows] == [
        ("4711", "CANCELLED", 0, 15),
        ("4712_2", "FAILED", 3, 0),
    ]


def test_accounting_gives_a_row_to_each_element_that_never_began() -> None:
    rows = parse_accounting(
        "4711_[0-1,7%2]|CANCELLED by 1000|0:0|None|2026-11-25T10:07:00\n"
        "4711_3|COMPLETED|0:0|2026-11-25T10:06:00|2026-11-25T10:07:00\n"
    )
    assert [(row.job_id, row.state) for row in rows] == [
        ("4711_0", "CANCELLED"),
        ("4711_1", "CANCELLED"),
        ("4711_7", "CANCELLED"),
        ("4711_3", "COMPLETED"),
    ]


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("gpu:h100:8(S:0-1)", (8, "h100")),
        ("gpu:2", (2, "")),
        ("gpu:a100_3g.20gb:2,gpu:a100_3g.20gb:2,nic:1", (4, "a100_3g.20gb")),
        ("gpu:3090:8(S:0-1)", (8, "3090")),
        ("gpu:2080ti:4(S:0,2),gpu:h100:2(IDX:0,3)", (6, "2080ti h100")),
        ("gpu:1g.5gb:7", (7, "1g.5gb")),
        ("gpu:tesla,gpumem:320G", (1, "tesla")),
        ("gpu", (1, "")),
        ("(null)", (0, "")),
    ],
)
def test_gpus_are_counted_over_all_their_kinds(text: str, gpus: tuple[int, str]) -> None:
    assert parse_gres(text) == gpus


def test_a_node_is_read_with_its_flags_left_out() -> None:
    (row,) = parse_nodes("n1|64|515000|gpu:h100:8(S:0-1)|gpu*|ib,nvlink|mixed-\n")
    assert (row.name, row.cpus, row.gpus, row.gpu_type) == ("n1", 64, 8, "h100")
    assert row.memory_bytes == 515000 << 20
    assert (row.features, row.state) == (("ib", "nvlink"), "mixed")


def test_a_value_of_scontrol_may_have_spaces_in_it() -> None:
    (fields,) = parse_fields(
        "JobId=3 ArrayJobId=2 ArrayTaskId=1 JobName=two words JobState=RUNNING Reason=None "
        "EndTime=2026-11-25T11:00:00 Comment=a b\n"
    )
    assert fields["JobName"] == "two words"
    assert (fields["JobState"], fields["Comment"]) == ("RUNNING", "a b")


def test_the_configuration_is_read_with_its_units() -> None:
    found = parse_config(
        "Configuration data as of 2026-11-25T10:00:00\n"
        "KillWait                = 30 sec\n"
        "MaxArraySize            = 10001\n"
        "SlurmctldParameters     = preempt_send_user_signal,idle_on_node_suspend\n"
        "Slurmctld(primary) at head is UP\n"
    )
    assert parse_seconds(found["KillWait"]) == 30
    assert found["MaxArraySize"] == "10001"
    assert parse_seconds("00:02:00") == 120
