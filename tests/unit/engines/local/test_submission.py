"""All of a submission or none of it."""

import contextlib
import os
import stat
from pathlib import Path

import pytest

from headrace.core.records import decode
from headrace.core.rundir import RunDir, read_events
from headrace.engines.contract import Caller
from headrace.engines.local.elements import elements_of
from headrace.engines.local.site import Site
from headrace.engines.local.submission import Element, commit, number_of, read_submission, recover
from headrace.schedule.request import Request
from headrace.spec import make, read_submitted

SECRET = {"WANDB_API_KEY": "hunter2"}


def elements(**fields: object) -> list[Element]:
    return elements_of(
        make(cwd=Path("/work"), name="a", run="python train.py --lr {lr}", **fields),
        number=7,
        request=Request(),
        after=(),
        host="box",
        who=Caller(uid=1000, name="ada"),
        runs=Path("/runs"),
        site=Site(),
        token="t0",
        now_s=1.5,
    )


def test_a_single_run_is_named_by_name_and_number() -> None:
    (one,) = elements()
    asked = one.submission
    assert (asked.run_id, asked.array_id, asked.array_index) == ("a-7", None, None)


def test_a_sweep_is_a_run_for_each_value_which_its_job_file_holds() -> None:
    two = elements(sweep={"lr": [0.1, 0.2]})
    assert [one.submission.run_id for one in two] == ["a-7_0", "a-7_1"]
    assert {one.submission.array_id for one in two} == {"a-7"}
    jobs = [read_submitted(one.job) for one in two]
    assert [job.run for job in jobs] == [f"python train.py --lr 0.{n}" for n in (1, 2)]
    assert [job.env for job in jobs] == [{"HEADRACE_SWEEP_LR": f"0.{n}"} for n in (1, 2)]
    assert not any(job.sweep for job in jobs)


def test_an_array_keeps_its_indices_and_its_throttle() -> None:
    two = [one.submission for one in elements(array="4,9%1")]
    assert [(one.run_id, one.array_index) for one in two] == [("a-7_4", 4), ("a-7_9", 9)]
    assert {one.array_throttle for one in two} == {1}


def test_a_committed_run_has_its_job_its_script_its_event_and_a_private_environment(
    tmp_path: Path,
) -> None:
    (one,) = elements()
    commit(tmp_path, [one], SECRET, "#!/bin/sh\necho\n")
    run = RunDir(tmp_path / "a-7")
    assert run.job.read_text() == one.job
    assert run.script.read_text() == "#!/bin/sh\necho\n"
    assert decode(run.environment.read_bytes(), dict[str, str]) == SECRET
    assert stat.S_IMODE(run.environment.stat().st_mode) == 0o600
    assert read_submission(run) == one.submission
    (entry,) = read_events(run.events / "engine.jsonl")
    assert (entry.seq, entry.time_s) == (0, 1.5)
    assert [path.name for path in tmp_path.iterdir()] == ["a-7"]


class PowerCut(BaseException):
    """Not an error that anybody handles."""


@pytest.mark.parametrize("renames", [0, 1, 2, 3])
def test_after_a_crash_at_any_rename_all_runs_are_there_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    left = iter(range(renames))
    rename = os.rename

    def fail(old: Path, new: Path) -> None:
        if next(left, None) is None:
            raise PowerCut
        rename(old, new)

    monkeypatch.setattr(os, "rename", fail)
    both = elements(array="0-1")
    with contextlib.suppress(PowerCut):
        commit(tmp_path, both, {}, None)
    monkeypatch.undo()
    recover(tmp_path, "box")
    present = sorted(path.name for path in tmp_path.iterdir())
    assert present == ([] if renames == 0 else ["a-7_0", "a-7_1"])


def test_what_another_host_has_half_done_is_left_alone(tmp_path: Path) -> None:
    folders = [tmp_path / ".new-other-t", tmp_path / ".ready-other-t"]
    for folder in folders:
        folder.mkdir()
    recover(tmp_path, "box")
    assert all(folder.exists() for folder in folders)


@pytest.mark.parametrize(
    ("name", "number"),
    [("a-7", 7), ("a-7_12", 7), ("gpt-2-small-31", 31), ("a", 0), ("a-", 0), ("a-7b", 0)],
)
def test_the_number_of_a_folder_is_that_of_its_run(name: str, number: int) -> None:
    assert number_of(name) == number


@pytest.mark.parametrize("text", [None, b"", b"{}", b"\xff"])
def test_a_folder_without_a_submission_is_no_run(tmp_path: Path, text: bytes | None) -> None:
    if text is not None:
        (tmp_path / "submission.json").write_bytes(text)
    assert read_submission(RunDir(tmp_path)) is None


def test_elements_share_what_they_have_in_common_and_no_more(tmp_path: Path) -> None:
    """2,000 elements need not be 2,000 copies of a secret."""
    commit(tmp_path, elements(array="0-2"), SECRET, "echo")
    runs = [RunDir(tmp_path / f"a-7_{index}") for index in range(3)]
    for shared in ("environment", "job", "script"):
        assert len({getattr(run, shared).stat().st_ino for run in runs}) == 1
    assert runs[1].environment.stat().st_mode & 0o777 == 0o600
    assert [read_submission(run).array_index for run in runs] == [0, 1, 2]  # type: ignore[union-attr]


def test_where_there_are_no_links_each_element_has_its_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "link", refuse)
    commit(tmp_path, elements(array="0-1"), SECRET, None)
    texts = [RunDir(tmp_path / f"a-7_{index}").environment.read_bytes() for index in range(2)]
    assert texts[0] == texts[1]
