"""``headrace.schedule.pool``: sets of nodes, what fits, taking and giving."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.schedule.cluster import NodeSpec
from headrace.schedule.pool import Grant, Pool, Shape, lowest, node_set, numbers, slices_of

GIB = 1 << 30
ONE_CPU = Shape(1, 0, None, 0)
EVERYWHERE = (1 << 64) - 1


def pool(*nodes: NodeSpec) -> Pool:
    return Pool.empty(nodes)


def gpu_node(name: str, *gpus: tuple[str, int], divisible: bool = False) -> NodeSpec:
    return NodeSpec(name=name, cpus=8, memory_bytes=64 * GIB, gpus=gpus, divisible=divisible)


@pytest.mark.parametrize(
    ("members", "count", "expected"),
    [
        ([3, 5, 9], 2, [3, 5]),
        ([3, 5, 9], 1, [3]),
        ([3, 5, 9], 3, [3, 5, 9]),
        ([3, 5, 9], 7, [3, 5, 9]),
        ([70, 200, 1000], 2, [70, 200]),
        ([], 2, []),
    ],
)
def test_the_lowest_numbered_of_a_set(members: list[int], count: int, expected: list[int]) -> None:
    assert numbers(lowest(node_set(members), count)) == expected


def test_nodes_with_the_same_free_are_one_level() -> None:
    free = pool(*(gpu_node(f"n{i}", ("h100", 8)) for i in range(1000)))
    assert len(free.levels) == 1


def test_a_whole_node_holds_one_slice_of_a_run_and_a_divisible_one_as_many_as_fit() -> None:
    whole, divisible = gpu_node("a", ("h100", 4)), gpu_node("b", ("h100", 4), divisible=True)
    assert pool(whole).room(ONE_CPU, EVERYWHERE) == 1
    assert pool(divisible).room(ONE_CPU, EVERYWHERE) == 8
    assert pool(divisible).room(Shape(1, 2, "h100", 0), EVERYWHERE) == 2
    assert pool(divisible).room(Shape(1, 0, None, 24 * GIB), EVERYWHERE) == 2


def test_room_counts_allowed_nodes_only() -> None:
    free = pool(gpu_node("a", ("h100", 4)), gpu_node("b", ("h100", 4)))
    assert free.room(ONE_CPU, node_set([1])) == 1
    assert numbers(free.fitting(ONE_CPU, node_set([1, 7]))) == [1]


def test_gpus_of_no_named_type_come_from_the_scarcest_type_first() -> None:
    free = pool(gpu_node("a", ("a100", 1), ("h100", 3)))
    shape = Shape(1, 2, None, 0)
    grants = free.grant(shape, 1, free.candidates(shape, EVERYWHERE))
    assert grants == (Grant(1, 1, (1, 0, 1, 1)),)


def test_gpus_of_a_named_type_come_from_that_type() -> None:
    free = pool(gpu_node("a", ("NVIDIA A100", 1), ("NVIDIA H100 80GB HBM3", 3)))
    assert free.room(Shape(1, 2, "a100", 0), EVERYWHERE) == 0
    shape = Shape(1, 2, "h100", 0)
    grants = free.grant(shape, 1, free.candidates(shape, EVERYWHERE))
    assert grants == (Grant(1, 1, (1, 0, 0, 2)),)


def test_the_last_node_of_a_grant_gives_only_the_slices_that_are_left() -> None:
    free = pool(*(gpu_node(f"n{i}", ("h100", 4), divisible=True) for i in range(3)))
    shape = Shape(1, 2, None, 0)
    grants = free.grant(shape, 5, free.candidates(shape, EVERYWHERE))
    assert grants is not None
    assert [(numbers(one.nodes), one.slices) for one in grants] == [([0, 1], 2), ([2], 1)]
    assert slices_of(grants) == 5


def test_what_is_given_back_is_what_was_taken() -> None:
    free = pool(gpu_node("a", ("a100", 1), ("h100", 3)), gpu_node("b", ("h100", 4)))
    before = dict(free.levels)
    shape = Shape(2, 3, None, GIB)
    grants = free.grant(shape, 2, free.candidates(shape, EVERYWHERE))
    assert grants is not None
    free.take(grants)
    assert free.room(shape, EVERYWHERE) == 0
    free.give(grants)
    assert free.levels == before


@given(st.lists(st.tuples(st.integers(1, 255), st.integers(1, 2)), max_size=12))
def test_given_back_all_at_once_is_as_given_back_one_by_one(runs: list[tuple[int, int]]) -> None:
    at_once = pool(*(gpu_node(str(number), ("h100", 4)) for number in range(8)))
    back = [(Grant(nodes, 1, (0, 0, gpus)),) for nodes, gpus in runs]
    one_by_one = at_once.copy()
    for grants in back:
        one_by_one.give(grants)
    at_once.give_all(back)
    assert at_once.levels == one_by_one.levels


def test_a_copy_is_its_own() -> None:
    free = pool(gpu_node("a", ("h100", 4)))
    copy = free.copy()
    copy.take((Grant(1, 1, (8, 0, 4)),))
    assert free.room(ONE_CPU, EVERYWHERE) == 1
    assert copy.room(ONE_CPU, EVERYWHERE) == 0


def test_the_floor_of_two_pools_has_the_less_of_both_on_the_named_nodes_only() -> None:
    now = pool(gpu_node("a", ("h100", 4)), gpu_node("b", ("h100", 4)))
    then = now.copy()
    now.take((Grant(0b11, 1, (6, 0, 0)),))  # 2 CPUs, 4 GPUs free
    then.take((Grant(0b11, 1, (0, 0, 3)),))  # 8 CPUs, 1 GPU free
    floor = now.floor(then, 0b01)
    assert floor.levels == {(0, 2, 64 * GIB, 1): 0b01, (0, 2, 64 * GIB, 4): 0b10}
