"""A training run on a real Slurm ends with the same losses whatever happens to it."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.contract import recovery
from tests.contract.places import Place, place_of, real_cluster
from tests.contract.recovery import Training
from tests.integration.site import until
from tests.integration.virtual import Virtual, no_cluster

from headrace.core.events import AttemptStarted, Requeued
from headrace.core.states import State

slow = pytest.mark.slow
QUICK = (recovery.a_job_of_higher_qos, recovery.scontrol_requeue, recovery.a_killed_rank)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Virtual]:
    with real_cluster(recovery.NODES) as made:
        yield made


@pytest.fixture
def place(cluster: Virtual, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place_of("real", tmp_path_factory.mktemp("p"), cluster) as found:
        yield found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recovery.make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def here(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """Step -> loss on this machine's own queue, with one rank a node: it may have 2 CPUs."""
    with place_of("local", tmp_path_factory.mktemp("l"), None) as local:
        return Training(local, corpus, ranks=1, paced=False).end()


@slow
def test_a_model_trains_on_two_nodes_of_slurm_as_on_this_machine(
    cluster: Virtual, place: Place, corpus: Path, here: dict[int, float]
) -> None:
    """To the last bit with as many ranks; with more, sums are taken in another order."""
    assert Training(place, corpus, ranks=1, paced=False).end() == here
    two_each = recovery.calm(cluster, corpus)
    assert list(two_each) == list(here) == list(range(1, recovery.STEPS + 1))
    assert list(two_each.values()) == pytest.approx(list(here.values()), rel=1e-5)
    assert here[recovery.STEPS] < here[1]


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(one, marks=slow if one in QUICK else pytest.mark.chaos)
        for one in recovery.TROUBLES
    ],
    ids=lambda one: one.__name__,
)
def test_a_run_ends_as_if_nothing_had_happened(
    trouble: recovery.Trouble,
    cluster: Virtual,
    place: Place,
    corpus: Path,
    here: dict[int, float],
) -> None:
    """To the last bit as on this machine's own queue."""
    found = recovery.recover(trouble, cluster, place, corpus, ranks=1)
    recovery.require_same(found, here)


@pytest.mark.parametrize("trouble", recovery.TROUBLES, ids=lambda one: one.__name__)
@pytest.mark.parametrize("proctrack", ["cgroup", "linuxproc"])
@pytest.mark.chaos
def test_a_run_ends_as_if_nothing_had_happened_ten_times_in_a_row(
    proctrack: str, trouble: recovery.Trouble, corpus: Path
) -> None:
    with no_cluster() as cluster:
        cluster("up", "--virtual", str(recovery.NODES), "--proctrack", proctrack)
        calm = recovery.calm(cluster, corpus)
        assert len(list(recovery.often(trouble, 10, cluster, corpus, calm))) == 10


# --- nodes that are lost ------------------------------------------------------------------------


TICKING = "echo ready $SLURM_NNODES; while [ ! -e open ]; do sleep 0.05; done"


@contextmanager
def no_agent_comes_up(cluster: Virtual, node: str) -> Iterator[None]:
    """The node is well for Slurm, but has no Python."""
    python = str(Path(sys.executable).parent)
    cluster("exec", node, "--", "mount", "-t", "tmpfs", "none", python)
    try:
        yield
    finally:
        cluster("exec", node, "--", "umount", python)


def ticking(cluster: Virtual, place: Place, nodes: int | str) -> tuple[str, str, str]:
    """A run with one rank on each of two nodes, and those, the lead's first."""
    recovery.all_idle(cluster)
    run = place.submit("sh", "-c", TICKING, nodes=nodes, ranks_per_node=1).id
    until(lambda: place.log(run).count("ready 2") == 2)
    first, second = place.row(run).placed
    return run, first.node, second.node


def events_of(place: Place, run_id: str, kind: type[Any]) -> list[Any]:
    return [one.event for _, one in place.events(run_id) if isinstance(one.event, kind)]


@slow
def test_a_node_on_which_no_agent_comes_up_is_excluded_and_another_takes_its_place(
    cluster: Virtual, place: Place
) -> None:
    run, _, bad = ticking(cluster, place, 2)
    root = place.folder_of(run).root
    with no_agent_comes_up(cluster, bad):
        os.kill(recovery.agent_of(root, bad), signal.SIGKILL)
        until(lambda: place.log(run).count("ready 2") == 4, recovery.BUSY_S)
        job = cluster.slurm("scontrol", "show", "job", recovery.job_of(root))
        (place.folder / "open").touch()
        (row,) = place.end(run)
    assert row.state is State.COMPLETED
    assert bad not in [one.node for one in row.placed]
    assert f"ExcNodeList={bad}" in job
    assert f"Comment=headrace excludes {bad}: its agent died" in job
    (again,) = events_of(place, run, Requeued)
    assert (again.reason, f"keeps away from {bad}" in again.detail) == ("node", True)


@slow
def test_a_run_that_may_shrink_goes_on_without_a_node_and_is_not_queued_again(
    cluster: Virtual, place: Place
) -> None:
    run, first, second = ticking(cluster, place, "1-2")
    with recovery.without_power(cluster, second):
        until(lambda: place.log(run).count("ready 1") == 1, recovery.BUSY_S)
        (place.folder / "open").touch()
        assert place.end(run)[0].state is State.COMPLETED
    widths = [one.nodes for one in events_of(place, run, AttemptStarted)]
    assert widths == [(first, second), (first,)]
    assert events_of(place, run, Requeued) == []


@slow
def test_a_run_that_may_shrink_is_queued_again_when_the_node_of_its_lead_is_lost(
    cluster: Virtual, place: Place
) -> None:
    run, first, _ = ticking(cluster, place, "1-2")
    with recovery.without_power(cluster, first):
        until(lambda: events_of(place, run, Requeued), recovery.AGAIN_S)
        (place.folder / "open").touch()
        (row,) = place.end(run)
    assert row.state is State.COMPLETED
    assert first not in [one.node for one in row.placed]
    (again,) = events_of(place, run, Requeued)
    assert again.reason == "node"
