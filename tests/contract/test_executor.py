"""What ``headrace.Executor`` promises, held on each engine."""

import concurrent.futures
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.places import Place
from tests.integration.site import until

from headrace import Checkpointable, Executor, JobEnvironment
from headrace.control.executor.errors import (
    FunctionRaised,
    NotPicklable,
    NotSubmitted,
    ResultsGone,
    ResultUnreadable,
    RunCancelled,
    RunLost,
    SeveralResults,
)
from headrace.core.events import Requeued

TIMEOUT_S = 90.0


@pytest.fixture
def executor(place: Place) -> Iterator[Executor]:
    made = Executor(environ=place.environ, time="10m")
    yield made
    made.shutdown(wait=False, cancel_futures=True)


def divide(a: float, b: float = 1.0) -> float:
    print(f"dividing {a}")
    return a / b


def wait_for(path: Path) -> str:
    while not path.exists():
        time.sleep(0.05)
    return path.read_text()


class Own(Exception):
    """One that pickle cannot make again: its ``__init__`` wants more than its message."""

    def __init__(self, code: int, *, text: str) -> None:
        super().__init__(text)
        self.code = code


def raise_own() -> None:
    raise Own(3, text="own words")


def test_a_function_returns_its_result_its_exception_and_what_it_printed(
    executor: Executor,
) -> None:
    good, bad = executor.submit(divide, 6, b=4), executor.submit(divide, 1, b=0)
    assert good.result(TIMEOUT_S) == 1.5
    assert (good.state, good.done(), good.exception()) == ("COMPLETED", True, None)
    with pytest.raises(ZeroDivisionError) as error:
        bad.result(TIMEOUT_S)
    assert "in divide" in str(error.value.__cause__)
    assert bad.state == "FAILED"
    until(lambda: "dividing 6" in (good.stdout() or ""))
    until(lambda: "ZeroDivisionError" in (bad.stderr() or ""))


def test_a_map_is_one_array_whose_results_come_in_order_also_of_a_lambda_and_a_generator(
    executor: Executor, place: Place
) -> None:
    offset = 10
    found = executor.map(lambda a, b: a * b + offset, (n for n in range(5)), [1, 2, 3, 4])
    assert list(found) == [10, 12, 16, 22]
    until(lambda: place.door.runs(ended=False) == [])
    rows = place.door.runs(ended=True)
    assert len({row.array_id for row in rows}) == 1
    assert len(rows) == 4


def test_futures_work_with_wait_and_as_completed_and_a_batch_is_one_array(
    executor: Executor,
) -> None:
    executor.update_parameters(array_parallelism=2)
    with executor.batch():
        jobs = [executor.submit(divide, n) for n in range(4)]
        with pytest.raises(NotSubmitted):
            _ = jobs[0].job_id
    assert len({job.job_id.rpartition("_")[0] for job in jobs}) == 1
    done, waiting = concurrent.futures.wait(jobs, timeout=TIMEOUT_S)
    assert (len(done), waiting) == (4, set())
    assert sorted(job.result() for job in concurrent.futures.as_completed(jobs)) == [0, 1, 2, 3]


def test_every_rank_gives_a_result_and_knows_its_place(executor: Executor) -> None:
    executor.update_parameters(nodes=2, tasks_per_node=1)
    job = executor.submit(lambda: JobEnvironment())
    places = job.results(TIMEOUT_S)
    assert [one.global_rank for one in places] == [0, 1]
    assert {(one.num_tasks, one.num_nodes, one.job_id) for one in places} == {(2, 2, job.job_id)}
    with pytest.raises(SeveralResults):
        job.result()


def test_what_cannot_be_pickled_is_named_on_every_way(executor: Executor) -> None:
    with pytest.raises(NotPicklable, match="argument 2 cannot be pickled"):
        executor.submit(divide, 1, (n for n in range(3)))  # type: ignore[arg-type]
    lost = executor.submit(lambda: (n for n in range(3)))
    with pytest.raises(ResultUnreadable, match="generator"):
        lost.result(TIMEOUT_S)
    with pytest.raises(FunctionRaised, match="own words"):
        executor.submit(raise_own).result(TIMEOUT_S)


def test_a_run_that_dies_says_how_with_the_end_of_its_log(executor: Executor) -> None:
    def die() -> None:
        print("the last words", flush=True)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RunLost) as error:
        executor.submit(die).result(TIMEOUT_S)
    assert error.value.state == "FAILED"
    assert "signal 9" in error.value.why
    assert "the last words" in error.value.why


def test_a_job_is_cancelled_by_itself_or_by_others(
    executor: Executor, place: Place, tmp_path: Path
) -> None:
    ours, theirs = (executor.submit(wait_for, tmp_path / "never") for _ in range(2))
    until(lambda: ours.running() and theirs.running(), timeout_s=60.0)
    assert ours.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        ours.result(TIMEOUT_S)
    place.door.cancel(theirs.job_id, now=False)
    with pytest.raises(RunCancelled, match="CANCELLED"):
        theirs.result(TIMEOUT_S)
    assert isinstance(theirs.exception(), concurrent.futures.CancelledError)
    place.end(ours.job_id)


class Counter(Checkpointable):
    """Counts its starts; goes on from what it was when it was asked to leave."""

    def __init__(self) -> None:
        self.starts = 0

    def __call__(self, ready: Path, gate: Path) -> int:
        self.starts += 1
        with ready.open("a") as file:
            file.write("ready\n")
        wait_for(gate)
        return self.starts


def test_a_requeued_callable_goes_on_from_its_checkpoint_and_gives_one_result(
    executor: Executor, place: Place, tmp_path: Path
) -> None:
    ready, gate = tmp_path / "ready", tmp_path / "gate"
    job = executor.submit(Counter(), ready, gate)
    until(lambda: ready.exists(), timeout_s=60.0)
    until(lambda: "queued again" in place.door.requeue(job.job_id)[0].text)
    until(lambda: ready.read_text().count("ready") == 2, timeout_s=60.0)
    gate.touch()
    assert job.result(TIMEOUT_S) == 2
    place.end(job.job_id)
    requeued = [e for _, e in place.events(job.job_id) if isinstance(e.event, Requeued)]
    assert len(requeued) == 1


def test_results_are_had_again_by_another_executor(executor: Executor, place: Place) -> None:
    first = executor.map_array(divide, [4, 9], [2, 3])
    assert [job.result(TIMEOUT_S) for job in first] == [2, 3]
    family = first[0].job_id.rpartition("_")[0]
    again = Executor(environ=place.environ).attach(family)
    assert [job.result(TIMEOUT_S) for job in again] == [2, 3]


def test_calls_that_share_a_run_have_a_result_each(executor: Executor, place: Place) -> None:
    found = executor.map(divide, [8, 6, 1, 4, 2], [2, 2, 0, 2, 2], chunksize=2, timeout=TIMEOUT_S)
    assert [next(found), next(found)] == [4, 3]
    with pytest.raises(ZeroDivisionError):
        next(found)
    until(lambda: place.door.runs(ended=False) == [])
    rows = place.door.runs(ended=True)
    assert sorted(row.state for row in rows) == ["COMPLETED", "COMPLETED", "FAILED"]
    again = Executor(environ=place.environ).attach(str(rows[0].array_id))
    assert [job.exception(TIMEOUT_S) is None for job in again] == [True, True, False, True, True]


def test_the_folder_of_calls_goes_when_all_results_have_come_and_stays_when_one_has_not(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with Executor(environ=place.environ, time="10m") as good:
        job = good.submit(divide, 6, b=4)
    assert (job.result(), good.folder.exists()) == (1.5, False)
    with pytest.raises(ResultsGone, match="keep=True"):
        Executor(environ=place.environ).attach(job.job_id)
    assert place.end(job.job_id)[0].state == "COMPLETED"
    with Executor(environ=place.environ, time="10m") as bad:
        jobs = bad.map_array(divide, [1, 1], [0, 1])
    assert "calls without a result: 1" in caplog.text
    assert str(bad.folder) in caplog.text
    again = Executor(environ=place.environ).attach(jobs[1].job_id)
    assert [one.result(TIMEOUT_S) for one in again] == [1.0]
    assert isinstance(jobs[0].exception(), ZeroDivisionError)
