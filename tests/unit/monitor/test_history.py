"""What ``load`` makes of a run directory."""

from pathlib import Path

import pytest

from headrace.core.events import StepMetric
from headrace.core.records import encode
from headrace.core.rundir import RunNotFound, find_run
from headrace.monitor.history import load, read_metrics
from headrace.testing.rundirs import Story, loss_at, write_run


def test_a_run_with_a_restart_is_read_whole(tmp_path: Path) -> None:
    history = load(write_run(tmp_path, Story()).root)
    assert (history.run_id, history.user, history.state) == ("gpt-small-12", "ada", "COMPLETED")
    assert [span.state for span in history.spans] == ["PENDING", "RUNNING"]
    assert [a.outcome for a in history.attempts] == ["error", "completed"]
    assert [(a.world_size, a.cpus, a.nodes) for a in history.attempts] == [(2, 4, ("node0",))] * 2
    assert history.restarts == 1
    assert [m.step for m in history.kept_steps] == list(range(1, 61))
    assert history.kept_steps[-1].values == {"loss": loss_at(60)}
    assert sorted(s.metric.step for s in history.steps if s.repeated) == list(range(21, 34))
    assert all(s.attempt == 0 for s in history.steps if s.repeated)
    assert [c.step for c in history.checkpoints] == [20, 40, 60]
    assert history.checkpoints[0].size_bytes == 2 * 500_000_000
    assert history.total_steps == 60
    assert [view.phase for view in history.ranks] == ["ended", "steps"]
    assert [view.step for view in history.ranks] == [60, 60]


def test_a_run_in_progress_ends_at_the_last_thing_heard(tmp_path: Path) -> None:
    history = load(write_run(tmp_path, Story(end=None, restarts=0)).root)
    assert (history.state, history.is_final) == ("RUNNING", False)
    assert history.attempts[0].outcome is None
    assert history.end_s == max(m.time_s for m in history.kept_steps)


def test_an_empty_folder_is_a_run_nothing_is_known_of(tmp_path: Path) -> None:
    history = load(tmp_path)
    assert (history.state, history.attempts, history.steps) == ("PENDING", (), ())
    assert history.begin_s == history.end_s == 0.0


def test_a_program_that_says_nothing_has_samples_but_no_steps(tmp_path: Path) -> None:
    history = load(write_run(tmp_path, Story(speaks=False)).root)
    assert (history.steps, history.checkpoints) == ((), ())
    assert history.nodes
    assert all(view.step is None for view in history.ranks)


def test_a_loss_that_is_no_number_keeps_its_step() -> None:
    metric = StepMetric(
        rank=0,
        step=1,
        time_s=1.0,
        samples=1,
        step_s=1.0,
        seconds={},
        values={"loss": float("nan")},
    )
    (found,) = read_metrics([b"{broken", encode(metric)])
    assert isinstance(found, StepMetric)
    assert found.values == {"loss": None}


@pytest.mark.parametrize("word", ["gpt-small-12", "12", "{runs}/gpt-small-12"])
def test_a_run_is_found_by_id_number_and_path(word: str, tmp_path: Path) -> None:
    write_run(tmp_path, Story())
    write_run(tmp_path, Story(run_id="gpt-small-12_3"))
    found = find_run(word.format(runs=tmp_path), tmp_path)
    assert found.root == tmp_path / "gpt-small-12"
    assert find_run("12_3", tmp_path).run_id == "gpt-small-12_3"


def test_a_run_that_is_not_there_is_refused_with_near_matches(tmp_path: Path) -> None:
    (tmp_path / "gpt-small-12").mkdir()
    with pytest.raises(RunNotFound) as caught:
        find_run("gpt-smal-12", tmp_path)
    assert caught.value.exit_status == 3
    assert str(caught.value) == (
        "error HR-CORE-003: no single run answers to 'gpt-smal-12'\n"
        f"  why: it is no folder and names no one run in {tmp_path}\n"
        "  fix: one of: gpt-small-12"
    )


def test_a_number_that_two_runs_have_is_refused_with_both(tmp_path: Path) -> None:
    (tmp_path / "a-1").mkdir()
    (tmp_path / "b-1").mkdir()
    with pytest.raises(RunNotFound, match="'1'") as caught:
        find_run("1", tmp_path)
    assert caught.value.remedy == "one of: a-1, b-1"


@pytest.mark.parametrize("word", ["n" * 300, f"./{'n' * 300}"])
def test_a_word_too_long_for_a_path_names_no_run(word: str, tmp_path: Path) -> None:
    with pytest.raises(RunNotFound):
        find_run(word, tmp_path)


def test_without_any_runs_the_remedy_is_the_list(tmp_path: Path) -> None:
    with pytest.raises(RunNotFound) as caught:
        find_run("7", tmp_path / "absent")
    assert caught.value.remedy == "headrace ps --all shows all runs"
