"""One thread sees all results: with an engine that is only a table of rows."""

import concurrent.futures
import pickle
import random
import time
from pathlib import Path
from typing import Any, cast

import pytest
from tests.integration.site import until
from tests.unit.control.rows import row

from headrace.control.door import Door
from headrace.control.executor.errors import (
    RemoteTraceback,
    ResultUnreadable,
    RunCancelled,
    RunLost,
)
from headrace.control.executor.job import Job
from headrace.control.executor.watch import Watch
from headrace.core.states import State
from headrace.engines.contract import Acted, RunRow
from headrace.launch.calls import outcomes_folder, write_error, write_value


class Table:
    """A door to runs that do nothing; counts what it is asked."""

    def __init__(self) -> None:
        self.states: dict[str, tuple[State, str]] = {}
        self.asked: list[str] = []
        self.before_answer: Any = lambda: None

    def runs(self, *, ended: bool) -> list[RunRow]:
        self.asked.append("runs")
        self.before_answer()
        return [row(name, *state) for name, state in self.states.items() if ended or _goes(state)]

    def find(self, name: str) -> list[RunRow]:
        self.asked.append("find")
        found = {run: state for run, state in self.states.items() if run.startswith(name)}
        return [row(run, *state) for run, state in found.items()]

    def cancel(self, name: str, *, now: bool) -> list[Acted]:
        self.states[name] = (State.CANCELLED, "cancelled by ada")
        return [Acted(id=name, state=State.CANCELLED, text="cancelled")]


def _goes(state: tuple[State, str]) -> bool:
    return not state[0].is_final


class Desk:
    """A watch, its folder, and jobs with runs ``fit-1_0``, ``fit-1_1``, ..."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outcomes = outcomes_folder(folder)
        self.outcomes.mkdir()
        self.table = Table()
        self.watch = Watch(folder, lambda: cast(Door, self.table), patience_s=0.0)

    def jobs(self, count: int) -> list[Job[Any]]:
        made = []
        for number in range(count):
            job: Job[Any] = Job(self.watch)
            run_id = f"fit-1_{number}"
            job.submitted(run_id, self.folder / run_id, family="fit-1", number=number)
            self.table.states[run_id] = (State.PENDING, "")
            made.append(job)
        self.watch.add(made)
        return made

    def end(self, job: Job[Any], state: State, reason: str = "") -> None:
        self.table.states[job.job_id] = (state, reason)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_thousand_results_are_seen_by_one_thread_with_few_questions(desk: Desk) -> None:
    jobs = desk.jobs(1000)
    order = list(range(1000))
    random.Random(7).shuffle(order)
    for number in order:
        write_value(desk.outcomes / f"{number}.0.0-1", number * 2)
    concurrent.futures.wait(jobs, timeout=60)
    assert [job.result(0) for job in jobs] == [number * 2 for number in range(1000)]
    assert len(desk.table.asked) <= 20
    until(lambda: desk.watch._thread is None)


def test_a_result_that_lies_there_when_its_run_is_seen_to_have_ended_is_not_lost(
    desk: Desk,
) -> None:
    (job,) = desk.jobs(1)

    def end_with_a_result() -> None:
        write_value(desk.outcomes / "0.0.0-1", "there")
        desk.end(job, State.COMPLETED)

    desk.table.before_answer = end_with_a_result
    assert job.result(30) == "there"


def test_a_result_that_is_seen_before_its_job_is_known_is_not_lost(desk: Desk) -> None:
    """A large array has elements that are done before all of it is submitted."""
    other, late = desk.jobs(2)
    late.become_cancelled()
    write_value(desk.outcomes / "1.0.0-1", "early")
    until(lambda: "1.0.0-1" in desk.watch._seen)
    again: Job[Any] = Job(desk.watch)
    again.submitted("fit-1_1", desk.folder / "fit-1_1", family="fit-1", number=1)
    desk.watch.add([again])
    assert again.result(30) == "early"
    assert not other.done()


def test_all_ranks_of_one_attempt_make_a_result(desk: Desk) -> None:
    (job,) = desk.jobs(1)
    write_value(desk.outcomes / "0.0.0-2", "a0")
    write_value(desk.outcomes / "0.1.1-2", "b1")
    time.sleep(0.3)
    assert not job.done()
    write_value(desk.outcomes / "0.1.0-2", "b0")
    assert job.results(30) == ["b0", "b1"]


def test_an_error_counts_at_once_unless_the_run_starts_again_on_errors(desk: Desk) -> None:
    first, second = desk.jobs(2)
    second.error_is_final = False
    for number in (0, 1):
        write_error(desk.outcomes / f"{number}.0.0-1", ValueError("no"), "there\n")
    with pytest.raises(ValueError, match="no") as error:
        first.result(30)
    assert isinstance(error.value.__cause__, RemoteTraceback)
    time.sleep(0.3)
    assert not second.done()
    write_value(desk.outcomes / "1.1.0-1", "at last")
    assert second.result(30) == "at last"


def test_a_run_that_ends_after_its_last_error_gives_that_error(desk: Desk) -> None:
    (job,) = desk.jobs(1)
    job.error_is_final = False
    write_error(desk.outcomes / "0.2.0-1", ValueError("no"), "there\n")
    desk.end(job, State.FAILED, "10 of 10 restarts are used")
    with pytest.raises(ValueError, match="no"):
        job.result(30)


def test_a_run_that_is_lost_says_how_with_the_end_of_its_log(desk: Desk) -> None:
    (job,) = desk.jobs(1)
    log = job.run_dir / "attempts/0/nodes/n1/log"
    log.parent.mkdir(parents=True)
    log.write_text("0 o epoch 1\n0 e out of memory\n")
    desk.end(job, State.OUT_OF_MEMORY, "node n1: ranks use 9 GiB")
    error = job.exception(30)
    assert isinstance(error, RunLost)
    assert str(error) == (
        "error HR-EXECUTOR-006: fit-1_0 ended OUT_OF_MEMORY before its function returned\n"
        "  why: node n1: ranks use 9 GiB; its log ends:\n    epoch 1\n    out of memory\n"
        "  fix: give it more memory: memory=... or mem_gb=..."
    )
    assert job.state == "OUT_OF_MEMORY"
    assert (job.stdout(), job.stderr()) == ("epoch 1\n", "out of memory\n")


def test_a_run_whose_directory_is_gone_is_lost_too(desk: Desk) -> None:
    (job,) = desk.jobs(1)
    desk.table.states.clear()
    assert "its run directory is gone" in str(job.exception(30))


def test_who_cancels_decides_which_error_it_is(desk: Desk) -> None:
    ours, theirs = desk.jobs(2)
    assert ours.cancel()
    assert (ours.cancelled(), ours.state, ours.cancel()) == (True, "CANCELLED", True)
    desk.end(theirs, State.CANCELLED, "cancelled by root")
    done, _ = concurrent.futures.wait([ours, theirs], timeout=30)
    assert len(done) == 2
    assert isinstance(theirs.exception(), RunCancelled)
    assert not theirs.cancelled()


def test_a_result_after_a_cancel_is_dropped(desk: Desk) -> None:
    (job,) = desk.jobs(1)
    job.cancel()
    write_value(desk.outcomes / "0.0.0-1", 1)
    job.become_values([1])
    with pytest.raises(concurrent.futures.CancelledError):
        job.result(1)


def _gone() -> object:
    raise ModuleNotFoundError("No module named 'theirs'")


class Foreign:
    def __reduce__(self) -> tuple[object, ...]:
        return _gone, ()


def test_a_result_that_cannot_be_unpickled_here_says_so(desk: Desk) -> None:
    (job,) = desk.jobs(1)
    write_value(desk.outcomes / "0.0.0-1", Foreign())
    with pytest.raises(ResultUnreadable) as error:
        job.result(30)
    assert "No module named 'theirs'" in error.value.why


def test_an_engine_that_gives_no_answer_is_asked_again_and_loses_nothing(desk: Desk) -> None:
    (job,) = desk.jobs(1)

    def fail() -> None:
        desk.table.before_answer = lambda: None
        raise OSError("stale file handle")

    desk.table.before_answer = fail
    until(lambda: desk.table.asked)
    write_value(desk.outcomes / "0.0.0-1", 1)
    assert job.result(30) == 1


def test_an_error_of_ours_survives_pickling(desk: Desk) -> None:
    for kind in (RunLost, RunCancelled):
        error = kind("fit-1", State.TIMEOUT, "time is up", [])
        again = pickle.loads(pickle.dumps(error))
        assert (str(again), again.state) == (str(error), State.TIMEOUT)
