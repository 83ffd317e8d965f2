"""Which of the fitting nodes a run gets: all of its slices or none.

``lowest``  the lowest-numbered nodes, as published schedules do.
``pack``    the fullest nodes that take it, so that whole nodes stay free for those who need them.
``spread``  the emptiest.

Where nodes hang on switches, a run is put below as few leaf switches as can hold it: the fullest
single leaf that takes it whole, else the leaves with most room first.
"""

from collections.abc import Sequence
from typing import Literal

from headrace.schedule.pool import Grants, Level, Pool, Shape, lowest, numbers

Preference = Literal["lowest", "pack", "spread"]
Candidate = tuple[int, Level, int]


def choose(
    pool: Pool,
    shape: Shape,
    least: int,
    most: int,
    allowed: int,
    *,
    prefer: Preference = "pack",
    leaves: Sequence[int] = (),
) -> Grants | None:
    """From ``least`` to ``most`` slices, as many as fit on ``allowed`` nodes; None for fewer."""
    found = pool.candidates(shape, allowed)
    total = 0
    for slices, _, nodes in found:
        total += slices * nodes.bit_count()
    count = min(total, most)
    if count < least:
        return None
    if leaves and count > 1:
        below = _fewest_leaves(found, count, leaves)
        found = [(slices, level, nodes & below) for slices, level, nodes in found if nodes & below]
    if len(found) > 1:
        found = _in_order(found, count, prefer)
    return pool.grant(shape, count, found)


def _in_order(found: list[Candidate], count: int, prefer: Preference) -> list[Candidate]:
    if prefer == "pack":
        return sorted(found, key=lambda item: (-item[0], item[1][3:], item[1]))
    if prefer == "spread":
        return sorted(found, key=lambda item: (item[1][3:], item[1]), reverse=True)
    if all(slices == 1 for slices, _, _ in found):
        together = 0
        for _, _, nodes in found:
            together |= nodes
        first = lowest(together, count)
        return [(1, level, nodes & first) for _, level, nodes in found if nodes & first]
    single = [(bit, slices, level) for slices, level, nodes in found for bit in numbers(nodes)]
    return [(slices, level, 1 << bit) for bit, slices, level in sorted(single)]


def _fewest_leaves(found: list[Candidate], count: int, leaves: Sequence[int]) -> int:
    room = [
        (sum(slices * (nodes & leaf).bit_count() for slices, _, nodes in found), leaf)
        for leaf in leaves
    ]
    whole = [(size, index) for index, (size, _) in enumerate(room) if size >= count]
    if whole:
        return room[min(whole)[1]][1]
    below = 0
    for size, leaf in sorted(room, key=lambda item: -item[0]):
        below |= leaf
        count -= size
        if count <= 0:
            return below
    hanging = 0
    for leaf in leaves:
        hanging |= leaf
    return below | ~hanging  # nodes that hang on no switch
