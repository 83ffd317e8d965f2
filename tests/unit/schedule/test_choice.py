"""``headrace.schedule.choice``: which of the fitting nodes a run gets."""

import pytest

from headrace.schedule.choice import Preference, choose
from headrace.schedule.cluster import NodeSpec
from headrace.schedule.pool import Grant, Pool, Shape, nodes_of, numbers

ONE_GPU = Shape(1, 1, None, 0)
EVERYWHERE = (1 << 64) - 1


def busy(*free_gpus: int, divisible: bool = False) -> Pool:
    """A node for each number, of 4 GPUs, with so many free."""
    nodes = [
        NodeSpec(name=f"n{i}", cpus=16, gpus=(("h100", 4),), divisible=divisible)
        for i in range(len(free_gpus))
    ]
    pool = Pool.empty(nodes)
    for number, free in enumerate(free_gpus):
        if free < 4:
            pool.take((Grant(1 << number, 1, (4 - free, 0, 4 - free)),))
    return pool


def chosen(
    pool: Pool, least: int, most: int, prefer: Preference = "pack", leaves: tuple[int, ...] = ()
) -> list[int] | None:
    grants = choose(pool, ONE_GPU, least, most, EVERYWHERE, prefer=prefer, leaves=leaves)
    return None if grants is None else numbers(nodes_of(grants))


@pytest.mark.parametrize(
    ("prefer", "expected"), [("pack", [1, 3]), ("spread", [0, 2]), ("lowest", [0, 1])]
)
def test_which_two_of_four_nodes(prefer: Preference, expected: list[int]) -> None:
    assert chosen(busy(4, 1, 3, 2), 2, 2, prefer) == expected


def test_all_slices_or_none() -> None:
    assert chosen(busy(1, 0, 1), 3, 3) is None
    assert chosen(busy(1, 0, 1), 2, 3) == [0, 2]


def test_the_lowest_numbered_slices_of_divisible_nodes() -> None:
    grants = choose(
        busy(2, 4, divisible=True), ONE_GPU, 3, 3, EVERYWHERE, prefer="lowest", leaves=()
    )
    assert grants is not None
    assert [(numbers(one.nodes), one.slices) for one in grants] == [([0], 2), ([1], 1)]


def test_a_gang_goes_below_one_leaf_switch_where_one_can_hold_it() -> None:
    leaves = (0b0000_1111, 0b0111_0000)
    assert chosen(busy(1, 1, 1, 1, 4, 4, 4), 3, 3, leaves=leaves) == [4, 5, 6]
    assert chosen(busy(0, 1, 1, 0, 4, 4, 4), 2, 2, leaves=leaves) == [1, 2]


def test_a_gang_that_no_leaf_holds_goes_below_as_few_as_can() -> None:
    leaves = (0b000_011, 0b000_100, 0b111_000)
    found = chosen(busy(1, 1, 1, 4, 4, 4), 5, 5, leaves=leaves)
    assert found == [0, 1, 3, 4, 5]


def test_nodes_on_no_switch_are_used_when_the_leaves_do_not_do() -> None:
    assert chosen(busy(1, 1, 1), 3, 3, leaves=(0b001, 0b010)) == [0, 1, 2]
