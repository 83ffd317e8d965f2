"""``headrace simulate``: what it prints, writes and refuses."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from headrace.cli import simulate
from headrace.cli.progress import Progress
from headrace.core.errors import HeadraceError

JOBS = """id,submit_s,run_s,nodes,gpus_per_node,limit_s,user
a,0,7200,2,8,9000,ada
b,10,3600,1,8,4000,bob
e,11,3600,1,8,4000,bob
c,20,60,1,1,600,ada
d,30,60,1,1,600,bob
"""


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.csv"
    path.write_text(JOBS)
    return path


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(simulate.app, [str(one) for one in arguments])


def refusal(*arguments: object) -> str:
    result = invoke(*arguments)
    assert isinstance(result.exception, HeadraceError), result.output
    assert result.exception.exit_status == 2
    return str(result.exception)


def test_policies_stand_side_by_side_after_the_replay_check(jobs: Path) -> None:
    result = invoke(jobs, "--cluster", "2x8gpu", "--policy", "fifo", "--policy", "sjf")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("jobs.csv: 5 jobs on 2 nodes with 16 GPUs")
    assert lines[1].startswith("Replay check: not possible, only 0 of 5 jobs say when they started")
    row = next(line for line in lines if line.startswith("wait, mean"))
    assert row.split("  ")[0] == "wait, mean"
    assert row.endswith("*")
    assert any(line.startswith("5-8 GPUs (2)") for line in lines)
    assert "Jobs are submitted at the times of the trace" in result.stdout


def test_json_holds_all_measures(jobs: Path) -> None:
    result = invoke(jobs, "--cluster", "2x8gpu", "--json", "--nodes", "+2", "--curve", "0,1")
    found = json.loads(result.stdout)
    assert (found["schema"], found["jobs"]) == (1, 5)
    assert [one["policy"] for one in found["measures"]] == ["fifo", "easy"]
    assert [one["nodes"] for one in found["curves"][0]["points"]] == [4, 5]


def test_plots_page_and_starts_are_written_and_named_on_stderr(jobs: Path, tmp_path: Path) -> None:
    png, html, starts = (tmp_path / name for name in ("a.png", "a.html", "starts.csv"))
    result = invoke(
        *(jobs, "--cluster", "2x8gpu", "--png", png, "--html", html, "--starts", starts),
        *("--policy", "fifo", "--policy", "easy"),
    )
    assert result.exit_code == 0, result.output
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "<table>" in html.read_text()
    rows = (tmp_path / "starts-fifo.csv").read_text().splitlines()
    assert rows[:2] == ["id,submit_s,start_s,end_s,allocated", "a,0.0,0.0,7200.0,0-1"]
    assert (tmp_path / "starts-easy.csv").exists()
    assert str(png) in result.stderr


def test_one_policy_writes_its_starts_under_the_name_that_was_given(
    jobs: Path, tmp_path: Path
) -> None:
    path = tmp_path / "starts.csv"
    invoke(jobs, "--cluster", "2x8gpu", "--policy", "fifo", "--starts", path)
    assert len(path.read_text().splitlines()) == 6


def test_a_curve_says_how_many_nodes_are_enough(jobs: Path) -> None:
    result = invoke(
        *(jobs, "--cluster", "2x8gpu", "--policy", "fifo", "--curve", "0,3"),
        *("--wait-under", "10m", "--failures", "rsc1"),
    )
    assert "fifo: +3 nodes (5 in all) keep 9 of 10 waits under 10 min" in result.stdout
    assert "Failures: Meta RSC-1" in result.stdout


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--curve", "a,b"], 'error HR-SIM-012: --curve: "a,b"\n  why: it is numbers of nodes'),
        (["--wait-under", "soon"], 'error HR-SIM-012: --wait-under: "soon"\n  why: a duration is'),
        (["--sacctmgr", "dump"], 'error HR-SIM-012: --sacctmgr: "dump"\n  why: accounts belong'),
        (["--failures", "rsc9"], 'error HR-SIM-010: "rsc9" is not a failure model'),
        (["--policy", "lottery"], 'error HR-SCHEDULE-001: there is no policy "lottery"'),
        (["--nodes", "more"], 'error HR-SIM-011: "more" changes no nodes'),
        (["--cluster", "big"], "error HR-SIM-005"),
        (["--format", "xml"], "error HR-SIM-003"),
    ],
)
def test_options_that_cannot_be_used_are_refused_in_three_lines(
    jobs: Path, options: list[str], text: str
) -> None:
    cluster = [] if "--cluster" in options else ["--cluster", "2x8gpu"]
    found = refusal(jobs, *cluster, *options)
    assert found.startswith(text)
    assert len(found.splitlines()) == 3


def test_a_trace_without_a_machine_asks_for_one(jobs: Path) -> None:
    assert refusal(jobs).startswith("error HR-SIM-001: jobs.csv does not say which machine")


def test_a_trace_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "none.csv" in refusal(tmp_path / "none.csv", "--cluster", "2x8gpu")


def test_a_file_that_cannot_be_written_is_said(jobs: Path, tmp_path: Path) -> None:
    result = invoke(jobs, "--cluster", "2x8gpu", "--png", tmp_path / "none" / "a.png")
    assert isinstance(result.exception, HeadraceError)
    assert str(result.exception) == (
        f"error HR-SIM-013: cannot write {tmp_path}/none/a.png: No such file or directory\n"
        "  why: the results are ready, but the file system refuses them\n"
        "  fix: name a file in a folder of yours that exists and has room"
    )


def test_progress_is_silent_at_first_and_then_says_what_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now_s = 100.0
    monkeypatch.setattr("headrace.cli.progress.time.monotonic", lambda: now_s)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    with Progress() as progress:
        for later_s, text, share in (
            *((1, "fifo", 0.1), (3, "fifo", 0.2), (4, "fifo", 0.3)),
            *((14, "fifo", 0.9), (15, "easy", 0.0)),
        ):
            now_s = 100.0 + later_s
            progress(text, share)
    assert capsys.readouterr().err.splitlines() == ["fifo: 20 %", "fifo: 90 %", "easy: 0 %"]
