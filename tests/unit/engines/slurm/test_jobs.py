"""How runs are named to Slurm's commands."""

from tests.unit.engines.slurm.test_seeing import ASKED, JOB

from headrace.core.records import replace
from headrace.engines.local.submission import Submission
from headrace.engines.slurm.jobs import SlurmJob, words_of


def element(index: int) -> tuple[SlurmJob, Submission]:
    return JOB, replace(ASKED, array_id="gpt-1", array_index=index)


def test_elements_that_follow_each_other_are_one_word_and_no_word_has_a_comma() -> None:
    single = (replace(JOB, job_id="99"), ASKED)
    runs = [element(7), element(1), element(2), element(3), element(9), single]
    assert words_of(runs) == ["99", "4711_[1-3]", "4711_7", "4711_9"]


def test_no_runs_are_no_words() -> None:
    assert words_of([]) == []
