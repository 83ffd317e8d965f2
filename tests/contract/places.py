"""The places where runs can be, each with a way in: what is promised is promised of all of them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.integration.site import until
from tests.integration.virtual import MPI_PACKAGES, Virtual, install, virtual_cluster

from headrace.control.client import Client
from headrace.control.cluster import cluster_door
from headrace.control.door import Door
from headrace.core.events import Entry
from headrace.core.records import read_record
from headrace.core.rundir import RunDir, merged_events
from headrace.core.states import State
from headrace.engines.contract import RunRow, Submitted
from headrace.engines.slurm.jobs import SlurmJob
from headrace.spec import make, to_yaml
from headrace.testing.fake_slurm import RELEASES, FakeSlurm

NODES, CPUS = 2, 2
AGAIN_S = 240.0  # until a job that was queued again runs: Slurm first clears its nodes
RELEASE = dict(zip(("22.05", "23.11", "24.11", "25.05", "25.11"), RELEASES, strict=True))
QUICK = ("22.05", "25.11")
NAMES = [
    "local",
    *(f"fake-{release}" for release in QUICK),
    *(
        pytest.param(f"fake-{release}", marks=pytest.mark.slow)
        for release in RELEASE
        if release not in QUICK
    ),
    pytest.param("real", marks=pytest.mark.slow),
]


class Place:
    """``door``: to 2 nodes of ``cpus`` CPUs each. ``cluster``: the real one, if it is on one."""

    def __init__(
        self,
        folder: Path,
        door: Door,
        environ: dict[str, str],
        *,
        cpus: int,
        cluster: Virtual | None = None,
    ) -> None:
        self.folder = folder
        self.cpus = cpus
        self.door = door
        self.environ = environ
        self.cluster = cluster

    def submit(self, *command: str, token: str | None = None, **fields: Any) -> Submitted:  # noqa: ANN401
        given = {"name": "job", "time": "10m"} | fields
        spec = make(cwd=self.folder, command=command, **given)
        return self.door.submit(to_yaml(spec), self.environ, token=token)

    def row(self, run_id: str) -> RunRow:
        return self.door.detail(run_id).run

    def until(self, run_id: str, state: State, timeout_s: float = 40.0) -> RunRow:
        until(lambda: self.row(run_id).state is state, timeout_s)
        return self.row(run_id)

    def end(self, name: str, timeout_s: float = 60.0) -> list[RunRow]:
        """The rows of a run or an array when all have ended."""
        rows = self.door.wait(name, timeout_s=timeout_s)
        assert all(row.state.is_final for row in rows), rows
        return rows

    def folder_of(self, run_id: str) -> RunDir:
        return RunDir(Path(self.door.runs_folder()) / run_id)

    def log(self, run_id: str) -> str:
        run = self.folder_of(run_id)
        paths = sorted(run.root.glob("attempts/*/nodes/*/log"))
        return "".join(path.read_text() for path in paths)

    def events(self, run_id: str) -> list[tuple[str, Entry]]:
        return merged_events(self.folder_of(run_id))

    def job(self, run_id: str) -> str:
        """Slurm's number of it."""
        return read_record(self.folder_of(run_id).root / "slurm.json", SlurmJob).job_id

    def account(self, run_id: str) -> str:
        """All that a run left to read: events, logs, and what Slurm wrote of its job."""
        root = self.folder_of(run_id).root
        told = [f"{one.time_s:.1f} {who} {one.event}" for who, one in self.events(run_id)]
        logs = sorted([*root.glob("*.log"), *root.glob("attempts/*/nodes/*/log")])
        told += [f"--- {path.relative_to(root)}\n{path.read_text()}" for path in logs]
        if self.cluster is not None:
            told += ["--- slurmctld", self.cluster.told_of(self.job(run_id))]
        return "\n".join(told)

    @contextmanager
    def telling(self, run_id: str) -> Iterator[None]:
        """A failure tells the run's account."""
        try:
            yield
        except BaseException as error:
            error.add_note(self.account(run_id))
            raise


def environ_of(folder: Path) -> dict[str, str]:
    return dict(os.environ) | {
        "HEADRACE_RUNS": str(folder / "runs"),
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_RUNTIME_DIR": str(folder),
    }


@contextmanager
def place_of(name: str, folder: Path, cluster: Virtual | None) -> Iterator[Place]:
    environ = environ_of(folder)
    if name == "local":
        site = folder / "config/headrace/site.toml"
        site.parent.mkdir(parents=True)
        site.write_text(f"[local]\nvirtual_nodes = {NODES}\ncpus = {NODES}\n")
        client = Client(environ, runs=folder / "runs")
        place = Place(folder, client, environ, cpus=1)
        try:
            yield place
        finally:
            _clear(place)
            client.stop_daemon()
        return
    if cluster is not None:
        environ |= {"SLURM_CONF": cluster.environ["SLURM_CONF"]}
    else:
        release = RELEASE[name.removeprefix("fake-")]
        environ = FakeSlurm(folder / "slurm", release=release).environ(environ)
    door = cluster_door(environ, poll_s=0.2)
    place = Place(folder, door, environ, cpus=CPUS, cluster=cluster)
    try:
        yield place
    finally:
        _clear(place)


def _clear(place: Place) -> None:
    """Whatever a failed test has left."""
    for row in place.door.runs(ended=False):
        place.door.cancel(row.id, now=True)
    until(lambda: place.door.runs(ended=False) == [])


@contextmanager
def real_cluster(nodes: int = NODES) -> Iterator[Virtual]:
    """The one of HEADRACE_TEST_CLUSTER, if that is up, else a new one."""
    given = os.environ.get("HEADRACE_TEST_CLUSTER")
    if given:
        yield Virtual(Path(given))
        return
    if os.geteuid() == 0:
        install(*MPI_PACKAGES)
    with virtual_cluster(nodes) as made:
        yield made
