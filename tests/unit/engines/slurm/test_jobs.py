"""How runs are named to Slurm's commands."""

from tests.unit.engines.slurm.test_seeing import ASKED, JOB

from headrace.core.records import replace
from headrace.engines.local.submission import Submission
from headrace.engines.slurm.errors import OtherCluster
from headrace.engines.slurm.jobs import SlurmJob, parse_submitted, words_of


def element(index: int) -> tuple[SlurmJob, Submission]:
    return JOB, replace(ASKED, array_id="gpt-1", array_index=index)


def test_elements_that_follow_each_other_are_one_word_and_no_word_has_a_comma() -> None:
    single = (replace(JOB, job_id="99"), ASKED)
    runs = [element(7), element(1), element(2), element(3), element(9), single]
    assert words_of(runs) == ["99", "4711_[1-3]", "4711_7", "4711_9"]


def test_no_runs_are_no_words() -> None:
    assert words_of([]) == []


def test_sbatch_may_say_which_cluster_took_the_job() -> None:
    assert parse_submitted("sbatch: a word of the site's\n4711\n") == ("4711", "")
    assert parse_submitted("4711;b\n") == ("4711", "b")


def test_the_full_text_of_a_job_that_another_cluster_took() -> None:
    assert str(OtherCluster("7", "b", "a", cancelled=True)) == (
        "error HR-SLURM-008: cluster b took the job, not a\n"
        "  why: its job 7 was cancelled again\n"
        "  fix: leave clusters out of slurm.sbatch; SLURM_CLUSTERS=b before headrace makes all "
        "commands mean that cluster"
    )
    assert "end it with scancel --clusters=b 7" in str(OtherCluster("7", "b", "a", cancelled=False))
