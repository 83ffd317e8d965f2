"""What an executor submits, to an engine that only takes notes."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from headrace import Checkpointable, Executor
from headrace.control.door import Door
from headrace.control.executor.errors import NotPicklable, NotSubmitted, ParameterNotHonoured
from headrace.core.errors import Refused
from headrace.engines.contract import Acted, RunRow, Submitted
from headrace.engines.slurm.errors import ArrayTooLarge, SlurmRefused, SlurmUnreachable
from headrace.launch.calls import read_contents
from headrace.spec import JobSpec, expand, read_submitted


class Clerk:
    def __init__(self, runs: Path) -> None:
        self.runs_path = runs
        self.specs: list[JobSpec] = []
        self.limit = 10**6
        self.refusal: Exception | None = None
        self.takes = 10**6
        self.unreachable = False
        self.cancelled: list[tuple[str, bool]] = []

    def runs_folder(self) -> str:
        return str(self.runs_path)

    def submit(self, job: str, environment: Mapping[str, str]) -> Submitted:
        if self.refusal is not None:
            raise self.refusal
        spec = read_submitted(job)
        elements = expand(spec)
        if len(elements) > self.limit:
            raise ArrayTooLarge(len(elements) - 1, self.limit)
        if len(self.specs) == self.takes:
            raise SlurmRefused(["sbatch"], "job submit limit")
        self.specs.append(spec)
        name = f"{spec.name}-{len(self.specs)}"
        return Submitted(id=name, runs=tuple(f"{name}_{e.index}" for e in elements) or (name,))

    def cancel(self, name: str, *, now: bool) -> list[Acted]:
        if self.unreachable:
            raise SlurmUnreachable(["scancel"], "nobody answers")
        self.cancelled.append((name, now))
        return []

    def runs(self, *, ended: bool) -> list[RunRow]:
        raise OSError("nobody answers")


@pytest.fixture
def clerk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clerk:
    made = Clerk(tmp_path)
    monkeypatch.setattr(
        "headrace.control.executor.executor.connect", lambda environ: cast(Door, made)
    )
    return made


def executor(**given: Any) -> Executor:  # noqa: ANN401
    return Executor(engine=given.pop("engine", "slurm"), environ={"PATH": "/bin"}, **given)


def calls_of(spec: JobSpec) -> Path:
    assert spec.command is not None
    return Path(spec.command[-2])


class Saves(Checkpointable):
    def __call__(self) -> None: ...


def test_an_array_that_is_too_large_is_submitted_in_parts(clerk: Clerk) -> None:
    clerk.limit = 3
    jobs = executor().map_array(abs, range(8))
    assert [len(expand(spec)) for spec in clerk.specs] == [3, 3, 2]
    assert [len(read_contents(calls_of(spec)).calls) for spec in clerk.specs] == [3, 3, 2]
    assert [job.job_id for job in jobs][2:5] == ["abs-1_2", "abs-2_0", "abs-2_1"]
    assert len({job.number for job in jobs}) == 8


def test_parts_of_an_array_are_taken_back_when_a_later_one_is_refused(clerk: Clerk) -> None:
    clerk.limit, clerk.takes = 3, 2
    one = executor()
    jobs = []
    with pytest.raises(SlurmRefused), one.batch():
        jobs = [one.submit(abs, n) for n in range(8)]
    assert clerk.cancelled == [("abs-1", True), ("abs-2", True)]
    assert [job.cancelled() for job in jobs] == [True] * 6 + [False] * 2
    assert isinstance(jobs[7].exception(), SlurmRefused)


def test_a_part_that_cannot_be_taken_back_is_named(
    clerk: Clerk, caplog: pytest.LogCaptureFixture
) -> None:
    clerk.limit, clerk.takes, clerk.unreachable = 3, 1, True
    with pytest.raises(SlurmRefused):
        executor().map_array(abs, range(8))
    assert "could not be cancelled and still runs: abs-1: error HR-SLURM-001" in caplog.text


def test_calls_share_runs_by_chunks(clerk: Clerk) -> None:
    executor(array_parallelism=2).map(abs, range(10), chunksize=4)
    (spec,) = clerk.specs
    assert spec.array is not None
    assert (spec.array.indices, spec.array.throttle) == ((0, 1, 2), 2)
    assert spec.command is not None
    assert spec.command[-1] == "4"


@pytest.mark.parametrize(
    ("engine", "function", "given", "on"),
    [
        ("slurm", abs, {}, ("preempt", "node", "hang")),
        ("slurm", Saves(), {}, ("preempt", "node", "hang", "time")),
        ("local", Saves(), {}, ("preempt", "node", "hang")),
        ("slurm", Saves(), {"restart": {"on": ["error"]}}, ("error",)),
        ("slurm", abs, {"slurm_max_num_timeout": 2}, ("preempt", "node", "hang")),
    ],
)
def test_what_a_call_is_made_again_after(
    clerk: Clerk,
    engine: str,
    function: Callable[..., object],
    given: dict[str, Any],
    on: tuple[str, ...],
) -> None:
    job = executor(engine=engine, **given).submit(function)
    assert clerk.specs[0].restart.on == on
    assert job.error_is_final == ("error" not in on)


def test_a_batch_that_is_refused_tells_its_jobs(clerk: Clerk) -> None:
    clerk.refusal = Refused("no", why="never", remedy="none")
    made, jobs = executor(), []
    with pytest.raises(Refused), made.batch():
        jobs = [made.submit(abs, n) for n in range(2)]
    assert all(isinstance(job.exception(0), Refused) for job in jobs)
    assert list(clerk.runs_path.rglob("[0-9]*.calls")) == []


def test_a_batch_whose_block_raises_submits_nothing_and_the_next_one_works(clerk: Clerk) -> None:
    made, kept = executor(), []

    def fail() -> None:
        with made.batch():
            kept.append(made.submit(abs, 1))
            with pytest.raises(NotSubmitted):
                _ = kept[0].run_dir
            raise KeyError("ours")

    with pytest.raises(KeyError):
        fail()
    (job,) = kept
    assert clerk.specs == []
    assert isinstance(job.exception(0), KeyError)
    with made.batch():
        left, right = made.submit(abs, 1), made.submit(abs, 2)
        left.cancel()
    assert (left.cancelled(), right.job_id) == (True, "abs-1")


def test_what_cannot_be_pickled_is_refused_before_anything_is_submitted(clerk: Clerk) -> None:
    with pytest.raises(NotPicklable) as error:
        executor().map_array(print, [1, (n for n in range(2))])
    assert error.value.problem == "argument 1 of call 1 cannot be pickled"
    assert clerk.specs == []


def test_folders_of_submitit_and_names_of_functions_are_made_plain(
    clerk: Clerk, tmp_path: Path
) -> None:
    executor(folder=tmp_path / "logs/%j/x").submit(lambda: None)
    (spec,) = clerk.specs
    assert spec.name == "lambda"
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{8}", calls_of(spec).parent.name)
    assert calls_of(spec).parent.parent == tmp_path / "logs"
    assert calls_of(spec).parent.stat().st_mode & 0o777 == 0o700


def test_submitits_debug_executor_is_refused(clerk: Clerk) -> None:
    with pytest.raises(ParameterNotHonoured, match="cluster=debug"):
        Executor(cluster="debug", environ={})


def test_nothing_is_taken_after_the_end(clerk: Clerk) -> None:
    made = executor()
    made.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        made.submit(abs, 1)
