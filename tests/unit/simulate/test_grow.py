"""Nodes added and taken away."""

import pytest
from tests.replays import cluster, job, replayed, trace

from headrace.schedule.cluster import Cluster, NodeSpec, Partition
from headrace.simulate.curve import Curve, Point, curve
from headrace.simulate.grow import NodesInvalid, grow, size
from headrace.simulate.measure import Measures, Spread, measure

MIXED = Cluster(
    nodes=(
        *(NodeSpec(name=f"c{n}", cpus=64) for n in range(3)),
        *(NodeSpec(name=f"g{n}", cpus=96, gpus=(("a100", 4),), switch="s1") for n in range(2)),
    ),
    partitions=(
        Partition(name="cpu", nodes=("c0", "c1", "c2"), default=True),
        Partition(name="gpu", nodes=("g0", "g1")),
        Partition(name="all"),
    ),
)


def test_added_nodes_are_like_the_most_common_and_join_their_partitions() -> None:
    found = grow(MIXED, "+2")
    assert [(node.name, node.cpus) for node in found.nodes[5:]] == [("added1", 64), ("added2", 64)]
    assert found.partitions[0].nodes == ("c0", "c1", "c2", "added1", "added2")
    assert found.partitions[1:] == MIXED.partitions[1:]


def test_a_type_of_gpu_says_which_nodes_to_add() -> None:
    found = grow(MIXED, "+1:a100")
    assert (found.nodes[-1].gpus, found.nodes[-1].switch) == ((("a100", 4),), "")
    assert found.partitions[1].nodes == ("g0", "g1", "added1")


def test_nodes_can_be_taken_away() -> None:
    found = grow(MIXED, -1)
    assert [node.name for node in found.nodes] == ["c0", "c1", "g0", "g1"]
    assert found.partitions[0].nodes == ("c0", "c1")


def test_a_pool_of_processors_grows_by_processors() -> None:
    pool = Cluster(nodes=(NodeSpec(name="machine", cpus=240, divisible=True),))
    assert (size(grow(pool, "+16")), size(grow(pool, "-40"))) == (256, 200)
    assert size(MIXED) == 5


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("many", "it is +COUNT, +COUNT:GPU_TYPE or -COUNT"),
        ("+4:h100", "no node has h100 GPUs"),
        ("-4", "some node must be left, and 3 of 5 nodes are of that sort"),
        ("-3", "partition cpu would have no node left"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused(change: str, why: str) -> None:
    with pytest.raises(NodesInvalid) as caught:
        grow(MIXED, change)
    assert str(caught.value) == (
        f'error HR-SIM-011: "{change}" changes no nodes\n  why: {why}\n  fix: --nodes +16'
    )


def test_a_curve_says_the_fewest_nodes_that_are_enough() -> None:
    spread = Spread(mean=1, median=1, p90=1, p95=1, p99=1, max=1)

    def point(added: int, p90: float | None) -> Point:
        waits = None if p90 is None else Spread(**{**_fields(spread), "p90": p90})
        return Point(added=added, nodes=10 + added, wait_s=waits, slowdown_mean=None, use=0.5)

    found = Curve(policy="easy", points=(point(0, 9000.0), point(4, 3600.0), point(8, 60.0)))
    best = found.smallest(3600)
    assert best is not None
    assert best.added == 4
    assert found.smallest(1) is None


def _fields(spread: Spread) -> dict[str, float]:
    return {name: getattr(spread, name) for name in spread.__struct_fields__}


def test_a_curve_replays_each_number_of_nodes_once() -> None:
    asked: list[int] = []

    def measured(where: Cluster) -> Measures:
        asked.append(len(where.nodes))
        return measure(replayed(trace(job("a", 0, 10)), [0]), cluster=where)

    found = curve("fifo", cluster(2), [4, 0, 4, -1], measured)
    assert asked == [1, 2, 6]
    assert [(point.added, point.nodes) for point in found.points] == [(-1, 1), (0, 2), (4, 6)]
