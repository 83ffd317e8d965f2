"""What a job of this machine's queue becomes when its code is copied."""

import shutil
from pathlib import Path

import pytest
from tests.unit.control.rows import row

from headrace.control.code import with_code
from headrace.core.errors import Refused
from headrace.engines.contract import RunRow, Submitted
from headrace.spec import JobSpec, make, read_submitted, to_yaml


class Queue:
    """Takes what is submitted."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self.taken: list[JobSpec] = []
        self.going: list[RunRow] = []

    def submit(self, folder: Path, token: str) -> JobSpec:
        job = to_yaml(make(cwd=folder, command=("true",), snapshot="true", image="model.sif"))
        with_code(job, self.runs, token, self._take, lambda: self.going)
        return self.taken[-1]

    def _take(self, job: str) -> Submitted:
        self.taken.append(read_submitted(job))
        run_id = f"job-{len(self.taken)}"
        (self.runs / run_id).mkdir()
        return Submitted(id=run_id, runs=(run_id,))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "gpt").mkdir()
    (tmp_path / "gpt/train.py").write_text("first")
    return tmp_path / "gpt"


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    (tmp_path / "runs").mkdir()
    return Queue(tmp_path / "runs")


def test_the_job_runs_in_the_copy_with_the_image_where_it_was(queue: Queue, folder: Path) -> None:
    found = queue.submit(folder, "a")
    assert (found.workdir / "train.py").read_text() == "first"
    assert (found.workdir, found.snapshot) == (queue.runs / ".code/a/code", False)
    assert found.image == str(folder / "model.sif")


def test_a_submission_that_is_sent_again_has_the_first_copy(queue: Queue, folder: Path) -> None:
    queue.submit(folder, "a")
    (folder / "train.py").write_text("second")
    assert (queue.submit(folder, "a").workdir / "train.py").read_text() == "first"
    assert (queue.submit(folder, "b").workdir / "train.py").read_text() == "second"


def test_a_copy_goes_with_its_run_directory_and_with_a_submission_that_is_refused(
    queue: Queue, folder: Path
) -> None:
    first, second = queue.submit(folder, "a"), queue.submit(folder, "b")
    shutil.rmtree(queue.runs / "job-1")
    queue.submit(folder, "c")
    assert (first.workdir.exists(), second.workdir.exists()) == (False, True)
    (queue.runs / "job-2").rename(queue.runs / "job-2_4")
    queue.submit(folder, "e")
    assert second.workdir.exists()

    def refuse(job: str) -> Submitted:
        raise Refused("no", why="it is", remedy="none")

    job = to_yaml(second.model_copy(update={"snapshot": True}))
    with pytest.raises(Refused):
        with_code(job, queue.runs, "d", refuse, lambda: ())
    assert not (queue.runs / ".code/d").exists()


def test_the_copy_of_a_run_that_waits_without_a_directory_stays(queue: Queue, folder: Path) -> None:
    first = queue.submit(folder, "a")
    (queue.runs / "job-1").rmdir()
    queue.going = [row("job-1_3", array_id="job-1")]
    queue.submit(folder, "b")
    assert first.workdir.exists()
    queue.going = []
    queue.submit(folder, "c")
    assert not first.workdir.exists()
