"""A training run on a real Slurm ends with the same losses whatever happens to it."""

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.contract import recovery
from tests.contract.lanes import Lane, Traffic, cluster_of_lanes
from tests.contract.places import AGAIN_S, Place, place_of
from tests.contract.training import STEPS, Training, agent_of, make_corpus
from tests.integration.site import until
from tests.integration.virtual import Virtual

from headrace.core.events import AttemptStarted, Requeued
from headrace.core.states import State

pytestmark = pytest.mark.slow
PROCTRACKS = ("cgroup", "linuxproc")
AT_A_TIME = 2
"""Recoveries on either cluster; each starts Python processes with torch, twice."""


@pytest.fixture(scope="module")
def lanes() -> Iterator[dict[str, list[Lane]]]:
    """Of a cluster for each way to know a job's processes. The first lane is not for recoveries."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(cluster_of_lanes(1 + AT_A_TIME, name)) for name in PROCTRACKS
        }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def recoveries(
    lanes: dict[str, list[Lane]], corpus: Path, request: pytest.FixtureRequest
) -> Iterator[dict[tuple[str, str], Future[recovery.Recovery]]]:
    """All that are asked for, begun at once, those of lost nodes first: they take longest."""
    with ExitStack() as stack:
        ways = {name: stack.enter_context(Traffic(lanes[name][1:])) for name in PROCTRACKS}
        asked = [
            (str(item.callspec.params["proctrack"]), str(item.callspec.params["trouble"]))
            for item in request.session.items
            if isinstance(item, pytest.Function) and item.originalname == RECOVERS
        ]
        yield {
            (proctrack, trouble): ways[proctrack].submit(
                partial(recovery.recover, trouble, corpus=corpus, ranks=1)
            )
            for proctrack, trouble in reversed(asked)
        }


@pytest.fixture
def lane(
    lanes: dict[str, list[Lane]],
    recoveries: object,  # go on beside
) -> Lane:
    return lanes["cgroup"][0]


@pytest.fixture
def cluster(lane: Lane) -> Virtual:
    return lane.cluster


@pytest.fixture
def place(cluster: Virtual, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place_of("real", tmp_path_factory.mktemp("p"), cluster) as found:
        yield found


@pytest.fixture(scope="module")
def here(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """Step -> loss on this machine's own queue, with one rank a node: it may have 2 CPUs."""
    with place_of("local", tmp_path_factory.mktemp("l"), None) as local:
        return Training(local, corpus, ranks=1, paced=False).end()


def test_a_model_trains_on_two_nodes_of_slurm_as_on_this_machine(
    lane: Lane, corpus: Path, here: dict[int, float]
) -> None:
    """To the last bit with as many ranks; with more, sums are taken in another order."""
    assert recovery.calm(lane, corpus, ranks=1) == here
    two_each = recovery.calm(lane, corpus, ranks=2)
    assert list(two_each) == list(here) == list(range(1, STEPS + 1))
    assert list(two_each.values()) == pytest.approx(list(here.values()), rel=1e-5)
    assert here[STEPS] < here[1]


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


def ticking(lane: Lane, place: Place, nodes: int | str) -> tuple[str, str, str]:
    """A run with one rank on each of two nodes, and those, the lead's first."""
    lane.await_idle()
    run = place.submit(
        "sh", "-c", TICKING, nodes=nodes, ranks_per_node=1, partition=lane.partition
    ).id
    until(lambda: place.log(run).count("ready 2") == 2)
    first, second = place.row(run).placed
    return run, first.node, second.node


def events_of(place: Place, run_id: str, kind: type[Any]) -> list[Any]:
    return [one.event for _, one in place.events(run_id) if isinstance(one.event, kind)]


def test_a_node_on_which_no_agent_comes_up_is_excluded_and_another_takes_its_place(
    lane: Lane, cluster: Virtual, place: Place
) -> None:
    run, _, bad = ticking(lane, place, 2)
    root = place.folder_of(run).root
    with no_agent_comes_up(cluster, bad):
        os.kill(agent_of(root, bad), signal.SIGKILL)
        until(lambda: place.log(run).count("ready 2") == 4, recovery.BUSY_S)
        job = cluster.slurm("scontrol", "show", "job", place.job(run))
        (place.folder / "open").touch()
        (row,) = place.end(run)
    assert row.state is State.COMPLETED
    assert bad not in [one.node for one in row.placed]
    assert f"ExcNodeList={bad}" in job
    assert f"Comment=headrace excludes {bad}: its agent died" in job
    (again,) = events_of(place, run, Requeued)
    assert (again.reason, f"keeps away from {bad}" in again.detail) == ("node", True)


def test_a_run_that_may_shrink_goes_on_without_a_node_and_is_not_queued_again(
    lane: Lane, place: Place
) -> None:
    run, first, second = ticking(lane, place, "1-2")
    with recovery.without_power(lane, second):
        until(lambda: place.log(run).count("ready 1") == 1, recovery.BUSY_S)
        (place.folder / "open").touch()
        assert place.end(run)[0].state is State.COMPLETED
    widths = [one.nodes for one in events_of(place, run, AttemptStarted)]
    assert widths == [(first, second), (first,)]
    assert events_of(place, run, Requeued) == []


def test_a_run_that_may_shrink_is_queued_again_when_the_node_of_its_lead_is_lost(
    lane: Lane, place: Place
) -> None:
    run, first, _ = ticking(lane, place, "1-2")
    with recovery.without_power(lane, first):
        until(lambda: events_of(place, run, Requeued), AGAIN_S)
        (place.folder / "open").touch()
        (row,) = place.end(run)
    assert row.state is State.COMPLETED
    assert first not in [one.node for one in row.placed]
    (again,) = events_of(place, run, Requeued)
    assert again.reason == "node"


# --- recoveries, which went on beside all of the above --------------------------------------------


@pytest.mark.parametrize("proctrack", PROCTRACKS)
@pytest.mark.parametrize("trouble", recovery.TROUBLES)
def test_a_run_ends_as_if_nothing_had_happened(
    trouble: str,
    proctrack: str,
    recoveries: dict[tuple[str, str], Future[recovery.Recovery]],
    here: dict[int, float],
) -> None:
    """To the last bit as on this machine's own queue."""
    recovery.require_same(recoveries[proctrack, trouble].result(), here)


RECOVERS = test_a_run_ends_as_if_nothing_had_happened.__name__
