"""``headrace run`` before anything is submitted: no daemon is there, and none may be started."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.spec.test_errors_of_job_files import CASES

from headrace.cli.main import main
from headrace.control.environment import submitted_environment
from headrace.engines.contract import Submitted
from headrace.spec import read_submitted


def holding(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


FILES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "a folder": Path.mkdir,
    "empty": Path.touch,
    "binary": lambda path: path.write_bytes(b"\x7fELF\x02\x01\x01\0" + os.urandom(500)),
    "not UTF-8": lambda path: path.write_bytes(b"run: a\nname: caf\xe9\n"),
    "of 10 MB": holding("run: a\n" + "# x\n" * 2_600_000),
    **{name: holding(text) for name, (text, _) in CASES.items()},
}


class Outcome:
    """One command in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *words: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["headrace", *words])
            with pytest.raises(SystemExit) as caught:
                main()
        self.status = caught.value.code
        self.out, self.err = capsys.readouterr()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "HEADRACE_RUNS"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("make", FILES.values(), ids=FILES.keys())
def test_a_broken_job_file_is_three_lines_exit_2_and_touches_nothing(
    make: Callable[[Path], object], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(place / "job.yaml")
    found = Outcome(capsys, "run", "job.yaml")
    problem, why, fix = found.err.splitlines()
    assert problem.startswith("error HR-SPEC-00")
    assert ": job.yaml:" in problem
    assert (why[:7], fix[:7]) == ("  why: ", "  fix: ")
    assert (found.status, found.out) == (2, "")
    assert {path.name for path in place.iterdir()} <= {"job.yaml"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "error HR-CLI-001: there is nothing to run"),
        (["run", "a.yaml", "b.yaml"], 'error HR-CLI-001: "a.yaml b.yaml" is not one job file'),
        (["run", "train.py", "--", "x"], 'error HR-CLI-001: "train.py" is not one job file'),
        (["run", "--env", "A", "--", "x"], 'error HR-CLI-001: --env "A" is not NAME=VALUE'),
        (["run", "--secrets", "NO_SUCH", "--", "x"], "error HR-CONTROL-014: the secret NO_SUCH is"),
        (["run", "--nodes", "8-2", "--", "x"], 'error HR-SPEC-003: --nodes: "8-2" is not a node'),
        (["ps", "--state", "DONE"], 'error HR-CLI-003: "DONE" is not a state of a run'),
    ],
)
def test_a_wrong_command_line_is_three_lines_and_exit_2(
    words: list[str], said: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Outcome(capsys, *words)
    assert found.err.startswith(said)
    assert len(found.err.splitlines()) == 3
    assert (found.status, found.out) == (2, "")


class Door:
    """Takes a submission and goes."""

    job = ""

    def submit(self, job: str, environment: object, *, script: str | None) -> Submitted:
        Door.job = job
        return Submitted(id="a-1", runs=("a-1",))


@pytest.mark.parametrize(
    ("words", "snapshot", "modules"),
    [
        ([], True, ("openmpi",)),
        (["--no-snapshot", "--modules", "cuda/12.4,openmpi"], False, ("cuda/12.4", "openmpi")),
        (["--snapshot", "--modules", "a", "--modules", "b,c"], True, ("a", "b", "c")),
    ],
)
def test_flags_of_the_code_and_its_modules_override_the_job_file(
    words: list[str],
    snapshot: bool,
    modules: tuple[str, ...],
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headrace.cli.connection.connect", Door)
    (place / "job.yaml").write_text("run: x\nsnapshot: true\nmodules: [openmpi]\n")
    assert Outcome(capsys, "run", "job.yaml", *words).out == "a-1\n"
    found = read_submitted(Door.job)
    assert (found.snapshot, found.modules) == (snapshot, modules)


def test_ranks_inherit_what_can_be_written_as_text() -> None:
    environ = {"A": "1", "B": "caf\udce9", "C": "café"}
    assert submitted_environment(("A",), environ) == {"A": "1", "C": "café"}
