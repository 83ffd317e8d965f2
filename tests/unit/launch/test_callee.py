import subprocess
import sys
from pathlib import Path

import pytest

from headrace.core.events import StopAsked
from headrace.core.rundir import EventWriter, RunDir
from headrace.launch.callee import is_answered, main, make
from headrace.launch.calls import (
    Call,
    make_folders,
    outcomes_folder,
    read_outcome,
    write_calls,
    write_value,
)
from headrace.train.stop import StopFlag


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    make_folders(tmp_path)
    return tmp_path / "0.calls"


def append(path: Path, text: str) -> str:
    with path.open("a") as file:
        file.write(text)
    return text


def outcome(calls: Path, name: str) -> object:
    return read_outcome(outcomes_folder(calls.parent) / name)[1]()


def test_a_call_that_has_been_answered_is_not_made_again(calls: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    write_calls(calls, [Call(append, (seen, "once"))])
    assert make(calls, 0, {}) == 0
    assert make(calls, 0, {"HEADRACE_ATTEMPT": "1"}) == 0
    assert seen.read_text() == "once"
    assert outcome(calls, "0.0.0-1") == "once"


def test_a_run_that_comes_back_after_its_results_were_taken_ends_well(calls: Path) -> None:
    assert main([str(calls), "1"], {"HEADRACE_ATTEMPT": "1"}) == 0
    with pytest.raises(FileNotFoundError):
        main([str(calls), "1"], {})


def test_a_call_that_only_some_ranks_answered_is_made_again_by_all(calls: Path) -> None:
    folder = outcomes_folder(calls.parent)
    write_value(folder / "0.0.0-2", 1)
    write_value(folder / "0.1.1-2", 1)
    assert not is_answered(calls.parent, 0)
    write_value(folder / "0.1.0-2", 1)
    assert is_answered(calls.parent, 0)
    assert not is_answered(calls.parent, 1)


def test_a_call_goes_on_from_what_an_earlier_attempt_left(calls: Path) -> None:
    write_calls(calls, [Call(lambda: "begun")])
    write_calls(calls.parent / "again" / "0.calls", [Call(lambda: "gone on")])
    make(calls, 0, {"HEADRACE_ATTEMPT": "1"})
    assert outcome(calls, "0.1.0-1") == "gone on"


def test_a_function_whose_training_was_stopped_has_no_result(
    calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StopFlag, "obeyed", True)
    write_calls(calls, [Call(int)])
    assert make(calls, 0, {}) == 0
    assert list(outcomes_folder(calls.parent).iterdir()) == []


def test_what_a_function_raises_when_it_was_told_to_leave_is_no_result(
    calls: Path, tmp_path: Path
) -> None:
    environ = {"HEADRACE_RUN_DIR": str(tmp_path / "run"), "HEADRACE_NODE": "n1"}
    events = EventWriter(RunDir(tmp_path / "run"), "agent-n1", now_s=lambda: 0.0)
    events.write(StopAsked(reason="preempt", deadline_s=9.0), attempt=1)
    events.close()
    write_calls(calls, [Call(sys.exit, (0,))])
    assert make(calls, 0, environ | {"HEADRACE_ATTEMPT": "1"}) == 143
    assert list(outcomes_folder(calls.parent).iterdir()) == []
    assert make(calls, 0, environ | {"HEADRACE_ATTEMPT": "2"}) == 1
    assert [path.name for path in outcomes_folder(calls.parent).iterdir()] == ["0.2.0-1"]


def test_a_call_that_exits_is_an_error_with_its_own_code(calls: Path) -> None:
    write_calls(calls, [Call(sys.exit, (7,))])
    assert make(calls, 0, {}) == 7
    found, _ = read_outcome(outcomes_folder(calls.parent) / "0.0.0-1")
    assert (found.kind, found.summary) == ("error", "SystemExit: 7")


def test_a_chunk_is_made_to_its_end_whatever_its_calls_raise(calls: Path) -> None:
    write_calls(calls, [Call(divmod, (7, n)) for n in (0, 1, 2, 0, 7)])
    argv = [sys.executable, "-m", "headrace.launch.callee", str(calls), "3"]
    for element, code in (("0", 1), ("1", 1)):
        environ = {"SLURM_ARRAY_TASK_ID": element, "PYTHONPATH": ":".join(sys.path)}
        done = subprocess.run(argv, env=environ, capture_output=True, check=False, timeout=60)
        assert done.returncode == code
    found = sorted(path.name for path in outcomes_folder(calls.parent).iterdir())
    assert found == [f"{n}.0.0-1" for n in range(5)]
    assert outcome(calls, "4.0.0-1") == (1, 0)
