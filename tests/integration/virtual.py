"""A virtual Slurm cluster for tests: brought up by the command, in a folder every user can read."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from headrace.cluster.bringup.packages import install_packages
from headrace.cluster.bringup.plan import Cluster
from headrace.core.records import read_record

UP_S = 900.0
MPI_PACKAGES = ("python3-mpi4py", "libpmix-dev")
"""Before slurmd starts, which loads PMIx once. It looks for libpmix.so, which -dev alone has."""


class Virtual:
    """The command line on one cluster, and Slurm's clients on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {
            **os.environ,
            "HEADRACE_CLUSTER": str(folder),
            "SLURM_CONF": str(folder / "etc/slurm.conf"),
        }

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "headrace.cli.main", "cluster", *words]

    def __call__(self, *words: str, timeout_s: float = UP_S) -> str:
        return self.run(self.command(*words), timeout_s=timeout_s)

    def run(self, words: list[str], *, user: str | None = None, timeout_s: float = 60.0) -> str:
        """Standard output; a failure shows all that was printed."""
        done = subprocess.run(
            words,
            env=self.environ,
            user=user,
            group=None if user is None else pwd.getpwnam(user).pw_gid,
            extra_groups=None if user is None else [],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def slurm(self, *words: str, user: str | None = None, timeout_s: float = 60.0) -> str:
        return self.run(list(words), user=user, timeout_s=timeout_s)

    def states(self) -> Mapping[str, str]:
        return dict(line.split() for line in self.slurm("sinfo", "-hNo", "%N %T").splitlines())

    def told_of(self, job: str) -> str:
        """What slurmctld wrote of a job, and of nodes."""
        lines = (self.folder / "log/slurmctld.log").read_text().splitlines()
        return "\n".join(line for line in lines if f"JobId={job}" in line or "node" in line.lower())

    @property
    def plan(self) -> Cluster:
        return read_record(self.folder / "cluster.json", Cluster)


@contextmanager
def no_cluster() -> Iterator[Virtual]:
    """A place for one; whatever is there at the end is taken down."""
    if os.geteuid() != 0:
        pytest.skip("a virtual cluster needs root")
    parent = Path(tempfile.mkdtemp(prefix="hrvc-"))
    parent.chmod(0o755)
    made = Virtual(parent / "c")
    try:
        yield made
    finally:
        subprocess.run(made.command("down"), env=made.environ, check=False, timeout=UP_S)
        shutil.rmtree(parent, ignore_errors=True)


def install(*packages: str) -> None:
    """Make Debian's packages be there."""
    asked = ["dpkg-query", "--show", "--showformat=${db:Status-Status}\n", *packages]
    have = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    if have == ["installed"] * len(packages):
        return
    install_packages(packages)


@contextmanager
def virtual_cluster(nodes: int, *flags: str) -> Iterator[Virtual]:
    with no_cluster() as made:
        made("up", "--install", "--virtual", str(nodes), *flags)
        yield made
