"""What is free on which nodes. A set of nodes is the bits of one integer.

All nodes that have the same free are one entry of ``levels``: a gang of a thousand nodes is found,
taken and given back with a few operations on integers, and its cost does not grow with its width.

A *shape* is one slice of a request: what it takes of each of its nodes. A *grant* is what a run
got: the nodes, how many slices on each, and what was taken of each.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import add, le, sub
from typing import NamedTuple

from headrace.schedule.capacity import is_kind_name
from headrace.schedule.cluster import NodeSpec
from headrace.schedule.request import Request

Level = tuple[int, ...]  # what a node has free: its kind, CPUs, bytes, GPUs of each of its types
Prefer = tuple[int, ...]


class Shape(NamedTuple):
    cpus: int
    gpus: int
    gpu_type: str | None
    memory_bytes: int


class Grant(NamedTuple):
    """``take``: what each node of ``nodes`` gave, a level without its kind."""

    nodes: int
    slices: int
    take: tuple[int, ...]

    def __deepcopy__(self, memo: dict[int, object]) -> "Grant":
        return self


Grants = tuple[Grant, ...]


def shape_of(request: Request) -> Shape:
    return Shape(
        request.cpus_per_node,
        request.gpus_per_node,
        request.gpu_type,
        request.memory_bytes or 0,
    )


def lowest(nodes: int, count: int) -> int:
    """The ``count`` lowest-numbered of ``nodes``, or all where there are no more."""
    if count == 1:
        return nodes & -nodes
    if nodes.bit_count() <= count:
        return nodes
    low, high = count, nodes.bit_length()
    while low < high:
        middle = (low + high) // 2
        if (nodes & ((1 << middle) - 1)).bit_count() < count:
            low = middle + 1
        else:
            high = middle
    return nodes & ((1 << low) - 1)


def numbers(nodes: int) -> list[int]:
    """The node numbers in a set, ascending."""
    found = []
    while nodes:
        bit = nodes & -nodes
        found.append(bit.bit_length() - 1)
        nodes ^= bit
    return found


def slices_of(grants: Grants) -> int:
    count = 0
    for grant in grants:
        count += grant.slices * grant.nodes.bit_count()
    return count


def nodes_of(grants: Grants) -> int:
    nodes = 0
    for grant in grants:
        nodes |= grant.nodes
    return nodes


class Kinds:
    """The kinds of node there are, and how many slices of a shape fit into a level."""

    def __init__(self, nodes: Sequence[NodeSpec]) -> None:
        self.specs = tuple(nodes)
        found: dict[tuple[tuple[str, ...], bool], int] = {}
        self.of_node = [
            found.setdefault((tuple(kind for kind, _ in node.gpus), node.divisible), len(found))
            for node in nodes
        ]
        self._gpu_types = [types for types, _ in found]
        self._divisible = [divisible for _, divisible in found]
        self.any_divisible = any(self._divisible)
        self.divisible = node_set(number for number, one in enumerate(nodes) if one.divisible)
        self._fits: dict[Shape, dict[Level, int]] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> "Kinds":
        return self

    def full(self, node: int) -> Level:
        spec = self.specs[node]
        gpus = (count for _, count in spec.gpus)
        return (self.of_node[node], spec.cpus, spec.memory_bytes, *gpus)

    def fits(self, shape: Shape) -> dict[Level, int]:
        """Slices by level, as far as known; ``slices`` fills it."""
        return self._fits.setdefault(shape, {})

    def slices(self, shape: Shape, level: Level, known: dict[Level, int]) -> int:
        count = 1 << 30
        if shape.cpus:
            count = level[1] // shape.cpus
        if shape.memory_bytes:
            count = min(count, level[2] // shape.memory_bytes)
        if shape.gpus:
            gpus = sum(level[3 + index] for index in self._usable(level[0], shape.gpu_type))
            count = min(count, gpus // shape.gpus)
        if not self._divisible[level[0]]:
            count = min(count, 1)
        known[level] = count
        return count

    def taking(self, shape: Shape, slices: int, level: Level) -> tuple[int, ...]:
        """What ``slices`` of the shape take of a node at ``level``: scarcest GPU type first."""
        gpus, left = [0] * (len(level) - 3), slices * shape.gpus
        usable = self._usable(level[0], shape.gpu_type) if left else ()
        for index in sorted(usable, key=lambda index: level[3 + index]):
            gpus[index] = min(left, level[3 + index])
            left -= gpus[index]
        return (slices * shape.cpus, slices * shape.memory_bytes, *gpus)

    @lru_cache(maxsize=4096)  # noqa: B019  one object a cluster, as long-lived as its cache
    def _usable(self, kind: int, gpu_type: str | None) -> tuple[int, ...]:
        types = self._gpu_types[kind]
        return tuple(i for i, name in enumerate(types) if is_kind_name(name, gpu_type))


class Pool:
    """The free part of a cluster. ``take`` and ``give`` change it; ``copy`` is cheap."""

    __slots__ = ("kinds", "levels")

    def __init__(self, kinds: Kinds, levels: dict[Level, int]) -> None:
        self.kinds = kinds
        self.levels = levels

    @classmethod
    def empty(cls, nodes: Sequence[NodeSpec]) -> "Pool":
        """Nothing runs on any of ``nodes``."""
        kinds = Kinds(nodes)
        groups: dict[Level, list[int]] = {}
        for node in range(len(nodes)):
            groups.setdefault(kinds.full(node), []).append(node)
        return cls(kinds, {level: node_set(members) for level, members in groups.items()})

    def copy(self) -> "Pool":
        return Pool(self.kinds, self.levels.copy())

    def __deepcopy__(self, memo: dict[int, object]) -> "Pool":
        return self.copy()

    def room(self, shape: Shape, allowed: int) -> int:
        """How many slices fit on the ``allowed`` nodes."""
        known, total = self.kinds.fits(shape), 0
        for level, nodes in self.levels.items():
            slices = known.get(level, -1)
            if slices < 0:
                slices = self.kinds.slices(shape, level, known)
            if slices:
                total += slices * (nodes & allowed).bit_count()
        return total

    def fitting(self, shape: Shape, allowed: int) -> int:
        """The nodes on which one slice fits."""
        known, found = self.kinds.fits(shape), 0
        for level, nodes in self.levels.items():
            slices = known.get(level, -1)
            if slices < 0:
                slices = self.kinds.slices(shape, level, known)
            if slices:
                found |= nodes & allowed
        return found

    def candidates(self, shape: Shape, allowed: int) -> list[tuple[int, Level, int]]:
        """(slices a node, level, nodes) of all nodes that hold a slice."""
        known, found = self.kinds.fits(shape), []
        for level, nodes in self.levels.items():
            slices = known.get(level, -1)
            if slices < 0:
                slices = self.kinds.slices(shape, level, known)
            if slices and (members := nodes & allowed):
                found.append((slices, level, members))
        return found

    def grant(
        self, shape: Shape, count: int, chosen: Iterable[tuple[int, Level, int]]
    ) -> Grants | None:
        """``count`` slices from the candidates in their order, lowest-numbered nodes first."""
        grants: list[Grant] = []
        for slices, level, nodes in chosen:
            whole = lowest(nodes, count // slices) if count >= slices else 0
            if whole:
                grants.append(Grant(whole, slices, self.kinds.taking(shape, slices, level)))
                count -= slices * whole.bit_count()
            if 0 < count < slices and (rest := nodes ^ whole):
                part = rest & -rest
                grants.append(Grant(part, count, self.kinds.taking(shape, count, level)))
                count = 0
            if not count:
                return tuple(grants)
        return None

    def take(self, grants: Grants) -> None:
        for grant in grants:
            self._move(grant.nodes, grant.take, sub)

    def give(self, grants: Grants) -> None:
        for grant in grants:
            self._move(grant.nodes, grant.take, add)

    def give_all(self, back: Iterable[Grants]) -> None:
        """``give`` for many: those that took the same of different nodes are one.

        A node that gave the same to several is in as many layers.
        """
        layers_of: dict[tuple[int, ...], list[int]] = {}
        for grants in back:
            for nodes, _, take in grants:
                layers = layers_of.setdefault(take, [])
                for index, layer in enumerate(layers):
                    layers[index] = layer | nodes
                    nodes &= layer  # what is left goes into the next layer
                    if not nodes:
                        break
                else:
                    layers.append(nodes)
        for take, layers in layers_of.items():
            for layer in layers:
                self._move(layer, take, add)

    def holds(self, grants: Grants) -> bool:
        """Whether all of the grants is free."""
        return all(
            not grant.nodes & nodes or all(map(le, grant.take, level[1:]))
            for grant in grants
            for level, nodes in self.levels.items()
        )

    def drop(self, nodes: int) -> None:
        """Take these nodes away, with all that is free of them."""
        touched = [(level, had) for level, had in self.levels.items() if had & nodes]
        for level, had in touched:
            if left := had & ~nodes:
                self.levels[level] = left
            else:
                del self.levels[level]

    def floor(self, other: "Pool", nodes: int) -> "Pool":
        """This pool, but each of ``nodes`` has the less of both of everything."""
        rest = ~nodes
        found = {level: left for level, had in self.levels.items() if (left := had & rest)}
        for level, had in self.levels.items():
            if not (part := had & nodes):
                continue
            for other_level, others in other.levels.items():
                if both := part & others:
                    least = tuple(map(min, level, other_level))
                    found[least] = found.get(least, 0) | both
        return Pool(self.kinds, found)

    def _move(
        self, nodes: int, amounts: tuple[int, ...], change: Callable[[int, int], int]
    ) -> None:
        levels, moved = self.levels, []
        for level, members in levels.items():
            part = members & nodes
            if part:
                moved.append((level, members, part))
                nodes ^= part
                if not nodes:
                    break
        assert not nodes, "a grant is of nodes of this pool"
        for level, members, part in moved:
            if members == part:
                del levels[level]
            else:
                levels[level] = members ^ part
        for level, _, part in moved:
            after = (level[0], *map(change, level[1:], amounts))
            levels[after] = levels.get(after, 0) | part


def node_set(members: Iterable[int]) -> int:
    """The set of these node numbers."""
    nodes = 0
    for node in members:
        nodes |= 1 << node
    return nodes
