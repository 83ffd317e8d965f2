"""Our own CSV, as docs/reference/trace-csv.md describes it."""

import re
from pathlib import Path

import pytest

from headrace.core.states import State
from headrace.simulate.errors import RowInvalid
from headrace.simulate.readers import table

DOCS = Path(__file__).parents[4] / "docs" / "reference" / "trace-csv.md"


def test_three_columns_are_enough() -> None:
    (one,) = table.read("id,submit_s,run_s\na,5,60\n", name="t.csv").jobs
    assert (one.job.id, one.job.submitted_s, one.run_s, one.state) == ("a", 5, 60, State.COMPLETED)
    assert (one.job.request.nodes_max, one.job.limit_s, one.job.qos) == (1, None, "normal")


def test_the_example_in_the_docs_is_read() -> None:
    example = re.findall(r"```\n(id,.*?)```", DOCS.read_text(), re.S)[0]
    first, second = table.read(example, name="docs").jobs
    assert (first.job.request.gpus_per_node, first.job.limit_s) == (8, 14_400)
    assert (second.job.request.nodes_min, second.job.request.gpu_type) == (4, "H100")


def test_every_column_stands_in_the_docs() -> None:
    documented = set(re.findall(r"`(\w+)`", DOCS.read_text()))
    assert set(table.COLUMNS) <= documented


def test_nodes_with_a_dash_are_elastic() -> None:
    (one,) = table.read("id,submit_s,run_s,nodes\na,0,1,2-8\n", name="t").jobs
    assert (one.job.request.nodes_min, one.job.request.nodes_max) == (2, 8)


def test_a_job_waits_only_for_jobs_of_the_file() -> None:
    text = "id,submit_s,run_s,after\na,0,1,\nb,0,1,ok:a any:gone\n"
    trace = table.read(text, name="t")
    assert [after.run_id for after in trace.jobs[1].job.after] == ["a"]
    assert "1 job waited for jobs that are not in the trace; they do not wait here" in trace.notes


def test_an_id_used_twice_gets_a_number() -> None:
    trace = table.read("id,submit_s,run_s\na,0,1\na,1,1\na,2,1\n", name="t")
    assert [one.job.id for one in trace.jobs] == ["a", "a#2", "a#3"]


def test_a_column_of_another_name_is_not_read_and_a_note_says_so() -> None:
    trace = table.read("id,submit_s,run_s,color\na,0,1,red\n", name="t")
    assert trace.notes == ('column "color" is not one of this format; it was not read',)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("submit_s", "noon"),
        ("run_s", "-1"),
        ("run_s", "nan"),
        ("run_s", "1e400"),
        ("nodes", "0"),
        ("nodes", "8-2"),
        ("nodes", "99999999999"),
        ("memory", "lots"),
        ("state", "GONE"),
        ("after", "a"),
        ("id", "a b"),
        ("array_throttle", "0"),
    ],
)
def test_a_value_that_breaks_a_rule_is_named_with_its_line(column: str, value: str) -> None:
    columns = {"id": "a", "submit_s": "0", "run_s": "1"} | {column: value}
    text = ",".join(columns) + "\n" + ",".join(columns.values()) + "\n"
    with pytest.raises(RowInvalid) as caught:
        table.read(text, name="t.csv")
    assert (caught.value.line, caught.value.field, caught.value.value) == (2, column, value)
