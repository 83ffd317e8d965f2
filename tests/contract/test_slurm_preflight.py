"""On a real Slurm, a node on which a run would fail is found before the ranks start."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.contract.places import Place, place_of, real_cluster
from tests.integration.site import until
from tests.integration.virtual import Virtual

from headrace.cluster.bringup import boxes, state
from headrace.core.events import AttemptStarted, NodeFinding, Requeued
from headrace.core.process import run as run_command
from headrace.core.states import State

PROGRAM = "import os; print(os.environ['HEADRACE_NODE'], os.environ['GLOO_SOCKET_IFNAME'])"
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[Virtual]:
    with real_cluster(3) as made:
        yield made


@pytest.fixture
def place(cluster: Virtual, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    until(lambda: set(cluster.states().values()) == {"idle"}, 60.0)
    with place_of("real", tmp_path_factory.mktemp("p"), cluster) as found:
        yield found


@contextmanager
def spoilt(cluster: Virtual, node: str, *, by: str, undo: str) -> Iterator[None]:
    def inside(words: str) -> None:
        run_command(boxes.inside(cluster.plan, state.node(cluster.plan, node), words.split()))

    inside(by)
    try:
        yield
    finally:
        inside(undo)


def of_kind(place: Place, run_id: str, kind: type) -> list[object]:
    return [entry.event for _, entry in place.events(run_id) if isinstance(entry.event, kind)]


@slow
def test_a_node_whose_shared_memory_is_full_is_excluded_and_the_run_goes_on_elsewhere(
    cluster: Virtual, place: Place
) -> None:
    with spoilt(
        cluster,
        "n2",
        by="mount -t tmpfs -o size=1m tmpfs /dev/shm",
        undo="umount /dev/shm",
    ):
        run_id = place.submit(sys.executable, "-c", PROGRAM, nodes=2).id
        (row,) = place.end(run_id, timeout_s=120.0)
    assert row.state is State.COMPLETED
    assert sorted(line.split()[2] for line in place.log(run_id).splitlines()) == ["n1", "n3"]
    (found,) = of_kind(place, run_id, NodeFinding)
    assert isinstance(found, NodeFinding)
    assert (found.nodes, found.check, found.level) == (("n2",), "shm", "hard")
    (requeued,) = of_kind(place, run_id, Requeued)
    assert isinstance(requeued, Requeued)
    assert "node n2 cannot be used: /dev/shm has 1 MiB free of 1 MiB" in requeued.detail
    assert "keeps away from n2" in requeued.detail
    job = (Path(row.run_dir) / "slurm.json").read_text()
    number = job.split('"job_id":"')[1].split('"')[0]
    shown = cluster.slurm("scontrol", "show", "job", number)
    assert "ExcNodeList=n2" in shown
    assert "Comment=headrace excludes n2: /dev/shm has 1 MiB free" in shown


@slow
def test_a_run_that_may_shrink_goes_on_without_a_node_that_others_do_not_reach(
    cluster: Virtual, place: Place
) -> None:
    (address,) = (box.address for box in cluster.plan.nodes if box.name == "n2")
    route = f"route {{}} unreachable {address}/32"
    with spoilt(cluster, "n3", by=f"ip {route.format('add')}", undo=f"ip {route.format('del')}"):
        all_three = {"sbatch": {"ntasks": "3"}}
        run_id = place.submit(sys.executable, "-c", PROGRAM, nodes="2-3", slurm=all_three).id
        (row,) = place.end(run_id, timeout_s=120.0)
    assert row.state is State.COMPLETED
    (found,) = of_kind(place, run_id, NodeFinding)
    assert isinstance(found, NodeFinding)
    assert (found.nodes, found.check, found.level) == (("n3",), "network", "hard")
    assert "it cannot reach n2: " in found.text
    (started,) = of_kind(place, run_id, AttemptStarted)
    assert isinstance(started, AttemptStarted)
    assert started.nodes == ("n1", "n2")
    assert {line.split()[3] for line in place.log(run_id).splitlines()} == {"eth0"}
