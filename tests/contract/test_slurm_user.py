"""An ordinary user of a real Slurm cluster: no root, no daemon, a home of their own."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.machine import User, python_for_all
from tests.integration.virtual import Virtual, virtual_cluster

pytestmark = pytest.mark.slow


class Ada:
    """Her command line on the login node."""

    def __init__(self, cluster: Virtual, user: User) -> None:
        program, path = python_for_all()
        self.user = user
        self._headrace = [program, "-m", "headrace.cli.main"]
        self._environ = {
            "HOME": str(user.home),
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": path,
            "SLURM_CONF": cluster.environ["SLURM_CONF"],
        }

    def __call__(self, *words: str, status: int = 0) -> str:
        """Standard output."""
        done = subprocess.run(
            [*self._headrace, *words],
            env=self._environ,
            user=self.user.name,
            group=self.user.gid,
            extra_groups=[],
            cwd=self.user.home,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, f"{words}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def ada() -> Iterator[Ada]:
    user = User("hrada")
    try:
        with virtual_cluster(2, "--user", user.name) as cluster:
            yield Ada(cluster, user)
    finally:
        user.remove()


def test_a_user_runs_on_all_nodes_as_herself_and_sees_it(ada: Ada) -> None:
    script = "echo $(id -un) $RANK of $WORLD_SIZE on $SLURMD_NODENAME"
    asked = ("--name", "who", "--nodes", "2", "--ranks-per-node", "2", "--time", "5m", "--wait")
    ada("run", *asked, "--", "sh", "-c", script)
    said = sorted(line.split(" ", 1)[1] for line in ada("logs", "who-1").splitlines())
    assert said == [f"hrada {rank} of 4 on n{rank // 2 + 1}" for rank in range(4)]
    (run,) = json.loads(ada("ps", "--all", "--json"))["runs"]
    assert (run["state"], run["user"], run["exit_code"]) == ("COMPLETED", "hrada", 0)
    assert "who-1  COMPLETED" in ada("report", "who-1")


def test_what_she_cancels_ends_and_leaves_nothing_on_the_nodes(ada: Ada) -> None:
    ada("run", "--name", "long", "--nodes", "2", "--time", "5m", "--", "sleep", "271828")
    ada("cancel", "long-2")
    ada("wait", "long-2", status=130)
    assert "CANCELLED" in ada("status", "long-2")
    find = ["pgrep", "-u", ada.user.name, "-af", "271828"]
    left = subprocess.run(find, capture_output=True, check=False)
    assert left.stdout == b""


def test_a_partition_that_does_not_exist_queues_nothing(ada: Ada) -> None:
    before = ada("ps", "--all", "--json")
    ada("run", "--partition", "nowhere", "--", "true", status=4)
    assert ada("ps", "--all", "--json") == before


def test_a_batch_script_that_names_an_output_file_runs_where_she_may_write(ada: Ada) -> None:
    script = Path(ada.user.home, "job.sbatch")
    script.write_text("#!/bin/sh\n#SBATCH -J classic -N2 -t5 -o out-%j.txt\nsrun id -un\n")
    run_id = ada("run", "--wait", script.name).strip()
    said = [line.split()[-1] for line in ada("logs", run_id).splitlines()]
    assert said == [ada.user.name] * 2
