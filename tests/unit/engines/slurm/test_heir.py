"""Who asks for the job to be queued again when the node of its lead has died."""

import pytest

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
