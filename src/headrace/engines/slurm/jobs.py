"""Which Slurm job is which run: ``slurm.json``, one for each submission.

It lies in the run directory, for an array in ``<runs>/.arrays/<array-id>/``. Written by the command
that submitted, or by the job itself when that command died first.
"""

from collections.abc import Iterable
from pathlib import Path

from headrace.core.records import DecodeError, Record, read_record, write_record
from headrace.engines.local.submission import Submission
from headrace.spec.amounts import format_array

ARRAYS = ".arrays"


class SlurmJob(Record, frozen=True, kw_only=True):
    """``job_id``: of an array, that of the whole. ``cluster``: by its own name."""

    job_id: str
    cluster: str
    submitted_s: float


def family_folder(runs: Path, asked: Submission) -> Path:
    """Where what all elements share lies: ``slurm.json``, ``batch.sh``, a copy of the code."""
    return runs / asked.run_id if asked.array_id is None else runs / ARRAYS / asked.array_id


def read_job(runs: Path, asked: Submission) -> SlurmJob | None:
    try:
        return read_record(family_folder(runs, asked) / "slurm.json", SlurmJob)
    except (FileNotFoundError, DecodeError):
        return None


def write_job(runs: Path, asked: Submission, job: SlurmJob) -> None:
    folder = family_folder(runs, asked)
    folder.mkdir(parents=True, exist_ok=True)
    write_record(folder / "slurm.json", job)


def job_name(job: SlurmJob, asked: Submission) -> str:
    """How scontrol, scancel and sacct name this run: 4711, or 4711_3."""
    return job.job_id if asked.array_index is None else f"{job.job_id}_{asked.array_index}"


def words_of(jobs: Iterable[tuple[SlurmJob, Submission]]) -> list[str]:
    """Names of many runs in few words: 4711_3, 4711_[5-9], 4712. No word has a comma in it, which
    scontrol takes for the end of a job."""
    words, elements = [], dict[str, list[int]]()
    for job, asked in jobs:
        if asked.array_index is None:
            words.append(job.job_id)
        else:
            elements.setdefault(job.job_id, []).append(asked.array_index)
    for job_id, indices in elements.items():
        ranges = format_array(tuple(sorted(indices)), None).split(",")
        words += [f"{job_id}_[{one}]" if "-" in one else f"{job_id}_{one}" for one in ranges]
    return words


def parse_submitted(text: str) -> tuple[str, str]:
    """The job id and the cluster that ``sbatch --parsable`` prints: "4711", which names none, or
    "4711;cluster"."""
    job_id, _, cluster = text.strip().splitlines()[-1].partition(";")
    return job_id, cluster


def job_of_script(text: str, script: str) -> str | None:
    """The id of the job with that batch script, by what ``squeue_scripts`` prints."""
    lines = (line.partition("|") for line in text.splitlines())
    return next((job_id.strip() for job_id, _, path in lines if path.strip() == script), None)
