"""From nodes to CPUs and GPUs: which numbers a run gets on the nodes it was granted.

CPUs are neighbours on the NUMA node of the GPUs where they can be. Locality is a preference: it
never keeps a run waiting. Each CPU and GPU goes to one run only.
"""

from collections.abc import Iterable, Sequence

from headrace.core.events import Placed
from headrace.schedule.capacity import Cpu, Gpu
from headrace.schedule.machine import Machine
from headrace.schedule.pool import Grants, numbers
from headrace.schedule.request import Request


class Devices:
    """The free CPUs and GPUs of all nodes, by number; ``placed`` holds the rest."""

    def __init__(self, machine: Machine, placed: Iterable[Placed] = ()) -> None:
        self._nodes = machine.nodes
        self._held: dict[str, list[Placed]] = {}
        for piece in placed:
            self._held.setdefault(piece.address, []).append(piece)
        self._free: dict[int, tuple[dict[int, Cpu], dict[int, Gpu]]] = {}

    def _left(self, number: int) -> tuple[dict[int, Cpu], dict[int, Gpu]]:
        """What is free on a node; worked out when it is first asked for."""
        found = self._free.get(number)
        if found is None:
            node = self._nodes[number]
            cpus = {cpu.id: cpu for cpu in node.cpus}
            gpus = {gpu.id: gpu for gpu in node.gpus}
            for piece in self._held.get(node.address, ()):
                for cpu in piece.cpus:
                    cpus.pop(cpu, None)
                for gpu in piece.gpus:
                    gpus.pop(gpu, None)
            found = self._free[number] = cpus, gpus
        return found

    def pin(self, request: Request, grants: Grants) -> tuple[Placed, ...]:
        """Numbers for every slice; they are taken from here on."""
        placed: list[Placed] = []
        for grant in grants:
            for number in numbers(grant.nodes):
                kinds = dict.fromkeys(gpu.kind for gpu in self._nodes[number].gpus)
                left = dict(zip(kinds, grant.take[2:], strict=True))
                slices = range(grant.slices)
                placed.extend(self._slice(request, number, index, left) for index in slices)
        return tuple(placed)

    def _slice(self, request: Request, number: int, index: int, left: dict[str, int]) -> Placed:
        """``left``: GPUs of each type that the grant has on this node, less earlier slices."""
        node, (cpus, gpus) = self._nodes[number], self._left(number)
        chosen_gpus: tuple[int, ...] = ()
        for kind, granted in left.items():
            count = min(granted, request.gpus_per_node - len(chosen_gpus))
            if count:
                matching = [gpu for gpu in gpus.values() if gpu.kind == kind]
                chosen_gpus += _choose(matching, count, near=None)
                left[kind] -= count
        near = gpus[chosen_gpus[0]].numa if chosen_gpus else None
        chosen_cpus = _choose(tuple(cpus.values()), request.cpus_per_node, near=near)
        for gpu_id in chosen_gpus:
            del gpus[gpu_id]
        for cpu_id in chosen_cpus:
            del cpus[cpu_id]
        return Placed(
            node=f"{node.name}-{index}" if node.divisible else node.name,
            address=node.address,
            cpus=chosen_cpus,
            gpus=chosen_gpus,
            memory_bytes=request.memory_bytes,
        )


def _choose(devices: Sequence[Cpu | Gpu], count: int, near: int | None) -> tuple[int, ...]:
    """``count`` of the devices: on one NUMA node if it can be, neighbours if they can be."""
    by_numa: dict[int, list[int]] = {}
    for device in sorted(devices, key=lambda device: device.id):
        by_numa.setdefault(device.numa, []).append(device.id)
    groups = sorted(
        by_numa.items(), key=lambda item: (item[0] != near, len(item[1]) < count, len(item[1]))
    )
    whole = [ids for numa, ids in groups if len(ids) >= count and near in (None, numa)]
    if whole:
        return tuple(_neighbours(whole[0], count))
    chosen: list[int] = []
    for _, ids in groups:
        chosen.extend(_neighbours(ids, min(len(ids), count - len(chosen))))
    return tuple(sorted(chosen))


def _neighbours(ids: list[int], count: int) -> list[int]:
    """From ascending ``ids``: the start of the shortest gapless stretch that has ``count``."""
    stretches: list[list[int]] = []
    for number in ids:
        if stretches and stretches[-1][-1] + 1 == number:
            stretches[-1].append(number)
        else:
            stretches.append([number])
    enough = [stretch for stretch in stretches if len(stretch) >= count]
    return (min(enough, key=len) if enough else ids)[:count]
