"""``report``, ``watch``, ``nodes`` and ``doctor`` as a user meets them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.cli import doctor, nodes, report, watch
from headrace.cli.nodes import ranges
from headrace.core.rundir import RunNotFound
from headrace.testing.rundirs import Story, write_run

runner = CliRunner()


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_run(tmp_path, Story())
    monkeypatch.setenv("HEADRACE_RUNS", str(tmp_path))
    return tmp_path


def test_report_prints_figures_and_names_its_files_on_stderr(runs: Path) -> None:
    done = runner.invoke(report.app, ["12"])
    assert done.exit_code == 0
    assert "gpt-small-12  COMPLETED" in done.stdout
    assert "60 of 60, 13 done twice" in done.stdout
    assert "lost to restarts" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout
    names = ("report.html", "report.png", "report.json")
    assert done.stderr.split() == [str(runs / "gpt-small-12" / name) for name in names]


def test_report_as_json_writes_nothing(runs: Path) -> None:
    done = runner.invoke(report.app, ["12", "--json"])
    found = json.loads(done.stdout)
    assert (found["schema"], found["steps"], found["state"]) == (1, 60, "COMPLETED")
    assert not (runs / "gpt-small-12/report.json").exists()


def test_report_can_print_only_where_the_page_is(runs: Path) -> None:
    done = runner.invoke(report.app, ["gpt-small-12", "--open-path"])
    assert done.stdout == f"{runs / 'gpt-small-12/report.html'}\n"
    assert Path(done.stdout.strip()).is_file()


def test_text_of_a_run_is_not_taken_for_markup(runs: Path) -> None:
    write_run(runs, Story(run_id="[bold]x[-3"))
    assert runner.invoke(report.app, ["3"]).stdout.startswith("[bold]x[-3  COMPLETED")
    assert runner.invoke(watch.app, ["3", "--once"]).stdout.startswith("[bold]x[-3  COMPLETED")


def test_a_run_that_is_not_there_is_an_error_of_ours(runs: Path) -> None:
    for app in (report.app, watch.app):
        assert isinstance(runner.invoke(app, ["99"]).exception, RunNotFound)


def test_watch_prints_one_frame_when_there_is_no_terminal(runs: Path) -> None:
    done = runner.invoke(watch.app, ["12"])
    assert done.exit_code == 0
    assert "step 60 of 60" in done.stdout
    assert "node0" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("COMPLETED: All 2 ranks ended.")
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_watch_of_many_ranks_shows_the_most_silent_and_counts_the_others(runs: Path) -> None:
    write_run(runs, Story(run_id="wide-5", ranks=40, cpus=40, restarts=0))
    done = runner.invoke(watch.app, ["5", "--once"])
    assert "and 24 more" in done.stdout


def test_watch_as_json_is_one_frame(runs: Path) -> None:
    found = json.loads(runner.invoke(watch.app, ["12", "--json"]).stdout)
    assert (found["schema"], found["frame"]["step"]) == (1, 60)


def test_nodes_shows_this_machine(runs: Path) -> None:
    done = runner.invoke(nodes.app, [])
    assert done.exit_code == 0
    assert "usable CPUs" in done.stdout
    (node,) = json.loads(runner.invoke(nodes.app, ["--json"]).stdout)["nodes"]
    assert node["cpus"]
    assert node["hostname"] in done.stdout


def test_cpu_numbers_are_written_as_ranges() -> None:
    assert ranges((0, 1, 2, 8, 10, 11)) == "0-2,8,10-11"
    assert ranges(()) == ""


def test_doctor_counts_its_findings_and_fails_only_on_errors(runs: Path) -> None:
    done = runner.invoke(doctor.app, ["--json"])
    found = json.loads(done.stdout)
    errors = [f for f in found["findings"] if f["severity"] == "error"]
    assert (found["schema"], done.exit_code) == (1, 1 if errors else 0)
    text = runner.invoke(doctor.app, [])
    assert text.stdout.splitlines()[-1].startswith(f"{len(errors)} error, ")
    assert text.exit_code == done.exit_code
