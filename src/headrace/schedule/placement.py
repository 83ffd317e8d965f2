"""Gang placement: all nodes of a run at once or none, each CPU and GPU to one run only.

Where there is a choice, a run is packed onto the fullest node that takes it, and its CPUs are
neighbours on the NUMA node of its GPUs. Locality is a preference: it never keeps a run waiting.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from headrace.core.events import Placed
from headrace.schedule.capacity import Capacity, Cpu, Gpu, is_kind
from headrace.schedule.reason import NeverFits, Resources, Shortage
from headrace.schedule.request import Request


@dataclass
class Room:
    """What is free on one node."""

    node: Capacity
    cpus: dict[int, Cpu] = field(default_factory=dict)
    gpus: dict[int, Gpu] = field(default_factory=dict)
    memory_bytes: int = 0

    def slices(self, request: Request) -> int:
        """How many nodes of this request fit here now."""
        fitting = min(self.slices_by_kind(request).values())
        return fitting if self.node.divisible else min(1, fitting)

    def slices_by_kind(self, request: Request) -> dict[str, int]:
        """The same if only CPUs, GPUs or memory counted."""
        found = {"CPUs": len(self.cpus) // request.cpus_per_node}
        if request.gpus_per_node:
            found["GPUs"] = len(self.matching(request)) // request.gpus_per_node
        if request.memory_bytes:
            found["memory"] = self.memory_bytes // request.memory_bytes
        return found

    def matching(self, request: Request) -> list[Gpu]:
        return [gpu for gpu in self.gpus.values() if is_kind(gpu, request.gpu_type)]


class Free:
    """What is free on all nodes, less what ``placed`` holds. ``take`` changes it."""

    def __init__(self, nodes: Sequence[Capacity], placed: Iterable[Placed] = ()) -> None:
        self.rooms = [
            Room(
                node,
                {cpu.id: cpu for cpu in node.cpus},
                {gpu.id: gpu for gpu in node.gpus},
                node.memory_bytes,
            )
            for node in nodes
        ]
        self._owners = {
            (room.node.address, cpu.id): room for room in self.rooms for cpu in room.node.cpus
        }
        self._gpu_owners = {
            (room.node.address, gpu.id): room for room in self.rooms for gpu in room.node.gpus
        }
        self.take(placed)

    def take(self, placed: Iterable[Placed]) -> None:
        """Give these away. Numbers that are on no node any more (a changed site file) are nobody's.

        Memory comes from the node that has the slice's first CPU.
        """
        for piece in placed:
            for cpu in piece.cpus:
                if room := self._owners.get((piece.address, cpu)):
                    room.cpus.pop(cpu, None)
            for gpu in piece.gpus:
                if room := self._gpu_owners.get((piece.address, gpu)):
                    room.gpus.pop(gpu, None)
            owner = self._owners.get((piece.address, piece.cpus[0])) if piece.cpus else None
            if owner is not None:
                owner.memory_bytes = max(0, owner.memory_bytes - (piece.memory_bytes or 0))

    def withhold(self, request: Request) -> None:
        """Set aside what ``request`` could use on each node, so that nobody behind delays it.

        Of a kind that is short on a node all is set aside; of any other just the request's part.
        What then remains can be taken without changing whether, or when, the request fits.
        """
        for room in self.rooms:
            claim = min(_empty(room.node).slices(request), request.nodes_min)
            if claim == 0:
                continue
            for cpu in sorted(room.cpus, reverse=True)[: claim * request.cpus_per_node]:
                del room.cpus[cpu]
            for gpu in room.matching(request)[: claim * request.gpus_per_node]:
                del room.gpus[gpu.id]
            room.memory_bytes = max(0, room.memory_bytes - claim * (request.memory_bytes or 0))


def _empty(node: Capacity) -> Room:
    return Free([node]).rooms[0]


def place(request: Request, free: Free) -> tuple[Placed, ...] | None:
    """As many slices as fit now up to ``nodes_max``, or None for fewer than ``nodes_min``.

    Takes nothing: give the answer to ``free.take``.
    """
    fitting = [(room.slices(request), room) for room in free.rooms]
    wanted = min(sum(count for count, _ in fitting), request.nodes_max)
    if wanted < request.nodes_min:
        return None
    fitting.sort(key=lambda item: (-item[0], len(item[1].gpus), len(item[1].cpus)))
    placed: list[Placed] = []
    for count, room in fitting:
        placed.extend(_cut(request, room, min(count, wanted - len(placed))))
    return tuple(placed)


def _cut(request: Request, room: Room, count: int) -> list[Placed]:
    cpus, gpus = dict(room.cpus), dict(room.gpus)
    pieces = []
    for index in range(count):
        matching = [gpu for gpu in gpus.values() if is_kind(gpu, request.gpu_type)]
        chosen_gpus = _choose(matching, request.gpus_per_node, near=None)
        near = gpus[chosen_gpus[0]].numa if chosen_gpus else None
        chosen_cpus = _choose(tuple(cpus.values()), request.cpus_per_node, near=near)
        for gpu_id in chosen_gpus:
            del gpus[gpu_id]
        for cpu_id in chosen_cpus:
            del cpus[cpu_id]
        node = room.node
        pieces.append(
            Placed(
                node=f"{node.name}-{index}" if node.divisible else node.name,
                address=node.address,
                cpus=chosen_cpus,
                gpus=chosen_gpus,
                memory_bytes=request.memory_bytes,
            )
        )
    return pieces


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


def shortage(request: Request, free: Free) -> Resources:
    """What keeps ``request`` from fitting into ``free``."""
    rooms = [room for room in free.rooms if _empty(room.node).slices(request)]
    limits = [(room, room.slices_by_kind(request)) for room in rooms]
    needed = {
        "CPUs": request.cpus_per_node,
        "GPUs": request.gpus_per_node,
        "memory": request.memory_bytes or 0,
    }
    short = tuple(
        Shortage(
            kind=kind,
            needed=needed[kind] * request.nodes_min,
            free=sum(_free_of(kind, room, request) for room in rooms),
        )
        for kind in (limits[0][1] if limits else ())
        if sum(_capped(room, found[kind]) for room, found in limits) < request.nodes_min
    )
    fitting = sum(room.slices(request) for room in rooms)
    whole = Shortage(kind="nodes", needed=request.nodes_min, free=fitting)
    return Resources(request=request, short=short or (whole,))


def _capped(room: Room, slices: int) -> int:
    return slices if room.node.divisible else min(1, slices)


def _free_of(kind: str, room: Room, request: Request) -> int:
    if kind == "CPUs":
        return len(room.cpus)
    return len(room.matching(request)) if kind == "GPUs" else room.memory_bytes


def never_fits(request: Request, nodes: Sequence[Capacity]) -> NeverFits | None:
    """The reason why ``request`` does not even fit on the empty nodes, or None when it does."""
    empty = Free(nodes)
    fitting = sum(room.slices(request) for room in empty.rooms)
    if fitting >= request.nodes_min:
        return None
    return NeverFits(
        request=request,
        fitting_nodes=fitting,
        nodes=sum(1 for _ in nodes),
        cpus=sum(len(node.cpus) for node in nodes),
        gpus=sum(len(room.matching(request)) for room in empty.rooms),
        memory_bytes=sum(node.memory_bytes for node in nodes),
    )
