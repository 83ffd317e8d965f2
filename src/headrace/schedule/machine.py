"""The nodes of a live engine, looked up both ways: from device numbers to nodes, and back.

Built once; a decision only reads it.
"""

from collections.abc import Iterable, Sequence

from headrace.core.events import Placed
from headrace.schedule.capacity import Capacity
from headrace.schedule.cluster import NodeSpec
from headrace.schedule.pool import Grant, Grants


class Machine:
    """``specs``: the nodes as the scheduler sees them, in the order of ``nodes``."""

    def __init__(self, nodes: Sequence[Capacity]) -> None:
        self.nodes = tuple(nodes)
        self.specs = tuple(spec_of(node) for node in nodes)
        self._cpus: dict[str, dict[int, int]] = {}
        self._gpus: dict[str, dict[int, tuple[int, int]]] = {}
        for number, node in enumerate(self.nodes):
            cpus, gpus = self._cpus.setdefault(node.address, {}), {}
            cpus.update((cpu.id, number) for cpu in node.cpus)
            types = [kind for kind, _ in self.specs[number].gpus]
            gpus = {gpu.id: (number, types.index(gpu.kind)) for gpu in node.gpus}
            self._gpus.setdefault(node.address, {}).update(gpus)

    def node_of(self, piece: Placed) -> int | None:
        """The node that has its first known CPU; None where the site has changed too much."""
        cpus = self._cpus.get(piece.address, {})
        return next((cpus[cpu] for cpu in piece.cpus if cpu in cpus), None)

    def grants_of(self, placed: Iterable[Placed]) -> Grants:
        """A run's place as grants, one a node. Numbers that are on no node now are nobody's."""
        takes: dict[int, list[int]] = {}
        slices: dict[int, int] = {}
        for piece in placed:
            number = self.node_of(piece)
            if number is None:
                continue
            spec = self.specs[number]
            take = takes.setdefault(number, [0] * (2 + len(spec.gpus)))
            slices[number] = slices.get(number, 0) + 1
            cpus, gpus = self._cpus[piece.address], self._gpus[piece.address]
            take[0] += sum(cpus.get(cpu) == number for cpu in piece.cpus)
            take[1] += min(piece.memory_bytes or 0, spec.memory_bytes)
            for gpu in piece.gpus:
                owner, kind = gpus.get(gpu, (-1, 0))
                if owner == number:
                    take[2 + kind] += 1
        return tuple(
            Grant(1 << number, slices[number], tuple(take)) for number, take in takes.items()
        )


def spec_of(node: Capacity) -> NodeSpec:
    """The node without its device numbers. Its GPU types in the order of their numbers."""
    kinds: dict[str, int] = {}
    for gpu in node.gpus:
        kinds[gpu.kind] = kinds.get(gpu.kind, 0) + 1
    return NodeSpec(
        name=node.name,
        cpus=len(node.cpus),
        memory_bytes=node.memory_bytes,
        gpus=tuple(kinds.items()),
        features=node.features,
        switch=node.switch,
        divisible=node.divisible,
    )
