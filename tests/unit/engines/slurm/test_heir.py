"""Who asks for the job to be queued again when the node of its lead has died."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.unit.engines.slurm.test_seeing import ASKED

from headrace.core.rundir import RunDir
from headrace.core.states import State
from headrace.engines.local.history import History
from headrace.engines.slurm import heir
from headrace.engines.slurm.heir import is_dead
from headrace.engines.slurm.settle import is_theirs

JOB = {"JobState": "RUNNING", "Restarts": "1", "BatchHost": "n1"}


def test_a_job_is_theirs_until_slurm_ends_it_or_begins_it_anew() -> None:
    assert is_theirs(JOB, {"SLURM_RESTART_COUNT": "1"})
    assert not is_theirs(JOB, {})
    assert is_theirs(JOB | {"Restarts": "0"}, {})
    assert not is_theirs(JOB | {"JobState": "COMPLETING"}, {"SLURM_RESTART_COUNT": "1"})


@pytest.mark.parametrize(
    ("state", "dead"),
    [("DOWN*", True), ("DOWN+DRAIN", True), ("ALLOCATED", False), ("IDLE*", False)],
)
def test_a_node_is_dead_when_slurm_says_so(state: str, dead: bool) -> None:
    assert is_dead({"State": state}) == dead


def test_heirs_wait_as_long_as_the_job_is_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def call(argv: Sequence[str]) -> str:
        asked.append(argv[1])
        dead = len(asked) > 2_000
        if "job" in argv:
            return "JobState=RUNNING Restarts=0 BatchHost=n1"
        return f"NodeName=n1 State={'DOWN*' if dead else 'ALLOCATED'}"

    monkeypatch.setattr(heir, "call", call)
    monkeypatch.setattr(heir, "_PAUSE_S", 0.0)
    monkeypatch.setattr(heir, "require_submission", lambda _: ASKED)
    monkeypatch.setattr(heir, "read_history", lambda *_: History(state=State.RUNNING))
    heir.inherit(RunDir(tmp_path), {"SLURM_JOB_ID": "1"})
    assert asked[-1] == "requeue"
