"""The user's own variables for sbatch, beside a script of ours."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from headrace.engines.slurm import commands
from headrace.engines.slurm.call import passed_on
from headrace.engines.slurm.variables import completed, for_sbatch, left_out, options_of
from headrace.spec import make, to_yaml
from headrace.spec.load import read_submitted

SCRIPT = """#!/bin/bash
# gpt: written by headrace
#SBATCH --account=lab2
#SBATCH --time=480
#SBATCH --gres=gpu:3090:8
#SBATCH --comment='two words'
#SBATCH --requeue

run=/x
"""
OPTIONS = options_of(SCRIPT)


def test_options_are_read_as_sbatch_reads_them() -> None:
    assert OPTIONS == {
        "account": "lab2",
        "time": "480",
        "gres": "gpu:3090:8",
        "comment": "two words",
        "requeue": "",
    }


def test_what_the_script_leaves_open_the_user_may_say_for_all_runs() -> None:
    theirs = {"SBATCH_WCKEY": "x", "SBATCH_PARTITION": "short", "SBATCH_MEM_PER_CPU": "4G"}
    assert for_sbatch(theirs | {"HOME": "/root"}, OPTIONS) == theirs
    assert left_out(theirs, OPTIONS) == ()


def test_what_the_job_file_has_a_field_for_and_leaves_open_is_taken_for_that_field() -> None:
    theirs = {"SBATCH_PARTITION": "short", "SBATCH_ACCOUNT": "lab1", "SBATCH_QOS": ""}
    spec = make(name="gpt", command=("true",), cwd=Path("/home/ada"), account="lab2")
    found = completed(spec, theirs)
    assert (found.account, found.partition, found.qos) == ("lab2", "short", None)
    assert read_submitted(to_yaml(found)) == found


def test_a_variable_that_is_no_word_is_left_to_sbatch() -> None:
    spec = make(name="gpt", command=("true",), cwd=Path("/home/ada"))
    assert completed(spec, {"SBATCH_QOS": "two words"}) == spec


@pytest.mark.parametrize(
    ("name", "value", "rival"),
    [
        ("SBATCH_ACCOUNT", "lab1", "--account=lab2"),
        ("SBATCH_TIMELIMIT", "1:00:00", "--time=480"),
        ("SBATCH_GPUS", "2", "--gres=gpu:3090:8"),
    ],
)
def test_a_variable_does_not_outrank_the_script(name: str, value: str, rival: str) -> None:
    theirs = {name: value}
    assert for_sbatch(theirs, OPTIONS) == {}
    assert left_out(theirs, OPTIONS) == (f"{name} is left out: the job file asks for {rival}",)


def test_a_variable_that_says_the_same_as_the_script_is_no_news() -> None:
    assert left_out({"SBATCH_ACCOUNT": "lab2"}, OPTIONS) == ()


@pytest.mark.parametrize(
    "name",
    [
        *("ARRAY_INX", "NO_REQUEUE", "SIGNAL", "WAIT", "CLUSTERS", "EXPORT", "GET_USER_ENV"),
        *("DEBUG", "ERROR", "OUTPUT", "INPUT", "OPEN_MODE", "NO_KILL", "JOB_NAME", "CONTAINER"),
    ],
)
def test_what_would_break_a_run_is_never_passed_on(name: str) -> None:
    theirs = {f"SBATCH_{name}": "1"}
    assert for_sbatch(theirs, {}) == {}
    assert left_out(theirs, OPTIONS) == ()


def test_only_sbatch_sees_them_and_by_the_script_or_the_options_that_it_gets(
    tmp_path: Path,
) -> None:
    script = tmp_path / "batch.sh"
    script.write_text(SCRIPT)
    environ = {"SBATCH_ACCOUNT": "lab1", "SBATCH_WCKEY": "x", "SECRET": "s", "HOME": "/root"}

    def seen(argv: Sequence[str]) -> set[str]:
        return passed_on(environ, argv).keys() - {"SLURM_BITSTR_LEN", "SLURM_TIME_FORMAT"}

    assert seen(commands.sbatch(str(script))) == {"SBATCH_WCKEY", "HOME"}
    assert seen(commands.test_only(["--account=lab2"])) == {"SBATCH_WCKEY", "HOME"}
    assert seen(commands.test_only([])) == {"SBATCH_ACCOUNT", "SBATCH_WCKEY", "HOME"}
    assert seen(commands.squeue("ada")) == {"HOME"}
