"""The batch script, whole, beside golden files; ``HEADRACE_GOLDEN=write`` writes them anew."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from headrace.engines.slurm.asking import indices_of
from headrace.engines.slurm.commands import srun_agents
from headrace.engines.slurm.grace import time_option
from headrace.engines.slurm.script import Host, dependency_of, make_script
from headrace.schedule.request import request_of
from headrace.spec import make
from headrace.spec.job import JobSpec

GOLDEN = Path(__file__).parent / "golden"
HOST = Host(python="/opt/venv/bin/python", variables={"LD_LIBRARY_PATH": "/opt/cuda/lib"})


def script_of(spec: JobSpec, *, run: str = "/lustre/ada/runs/gpt-7", dependency: str = "") -> str:
    return make_script(
        spec,
        request_of(spec, []),
        run=Path(run),
        indices=indices_of(spec),
        dependency=dependency,
        max_time_s=86_400.0,
        host=HOST,
    ).text


def job(**fields: object) -> JobSpec:
    return make(name="gpt", command=("python", "train.py"), cwd=Path("/home/ada"), **fields)


CASES = {
    "plain": (job(time="4h"), {}),
    "gpus": (
        job(
            nodes=2,
            gpus_per_node="h100:8",
            cpus_per_rank=12,
            memory="400G",
            time="1-00:00:00",
            account="lab1",
            partition="gpu",
            qos="high",
            reservation="course-42",
            constraint="a100&nvlink",
        ),
        {"dependency": "afterok:12:13,singleton"},
    ),
    "array": (job(array="0-99%8", time="10m"), {}),
    "sweep": (job(sweep={"lr": ["1e-3", "3e-4"]}, time="10m"), {}),
    "elastic": (job(nodes="2-8", time="2h", restart={"max": 0}, priority=-5), {}),
    "passed_on": (
        job(
            time="1h",
            slurm={"sbatch": {"mail-type": "END", "comment": "two words", "exclusive": ""}},
        ),
        {"run": "/lustre/it's 100%/gpt-7"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_batch_script_is_as_written_down(name: str) -> None:
    spec, extra = CASES[name]
    text = script_of(spec, **extra)
    path = GOLDEN / f"{name}.sh"
    if os.environ.get("HEADRACE_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", CASES)
def test_bash_understands_the_batch_script(name: str) -> None:
    subprocess.run(["bash", "-n", str(GOLDEN / f"{name}.sh")], check=True)


def test_an_option_that_would_break_the_run_is_left_out_and_said() -> None:
    spec = job(slurm={"sbatch": {"export": "ALL", "wrap": "x", "nice": "7"}})
    made = make_script(
        spec,
        request_of(spec, []),
        run=Path("/r/gpt-1"),
        indices=(),
        dependency="",
        max_time_s=None,
        host=HOST,
    )
    assert "--wrap" not in made.text
    assert made.text.count("--export") == 1
    assert made.text.index("--nice=7") > made.text.index("--export")
    assert [note.split(" is left out")[0] for note in made.notes] == [
        "slurm.sbatch export",
        "slurm.sbatch wrap",
    ]


def test_the_time_limit_has_the_leads_margin_but_never_passes_the_partitions() -> None:
    assert time_option(3600, 86_400) == "01:01:00"
    assert time_option(86_400, 86_400) == "1-00:00:00"
    assert time_option(90, None) == "00:02:00"
    assert time_option(100_000, 86_400) == "1-03:47:00"  # refused by Slurm, in its own words


def test_dependencies_are_joined_by_condition() -> None:
    asked = [("ok", "1"), ("any", "3_2"), ("ok", "2")]
    assert dependency_of(asked, singleton=False) == "afterok:1:2,afterany:3_2"
    assert dependency_of([], singleton=True) == "singleton"


def test_agents_are_started_by_a_step_whose_words_survive_being_filled_in() -> None:
    words = srun_agents(
        cpus=16,
        log="/r/{a}%/agents.log",
        python="/opt/python",
        run="/r/{a}%",
        modules=("-m", "headrace.launch.guard"),
    )
    filled = {"count": "2", "nodes": "n1,n2", "host": "10.0.0.1", "port": "4711", "start": "1"}
    argv = [word.format_map(filled) for word in words]
    text = GOLDEN / "agents.txt"
    if os.environ.get("HEADRACE_GOLDEN") == "write":
        text.write_text(shlex.join(argv) + "\n")
    assert shlex.join(argv) + "\n" == text.read_text()
