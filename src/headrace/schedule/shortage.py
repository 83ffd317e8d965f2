"""What is missing for a request: now, or even on the empty machine."""

from collections.abc import Sequence

from headrace.schedule.capacity import is_kind_name
from headrace.schedule.cluster import NodeSpec
from headrace.schedule.pool import Pool, Shape, shape_of
from headrace.schedule.reason import NeverFits, Resources, Shortage
from headrace.schedule.request import Request


def shortage(request: Request, pool: Pool, allowed: int) -> Resources:
    """What keeps ``request`` from fitting into ``pool`` on the ``allowed`` nodes."""
    shape = shape_of(request)
    able = 0
    for number, _spec in enumerate(pool.kinds.specs):
        level = pool.kinds.full(number)
        if allowed >> number & 1 and pool.kinds.slices(shape, level, {}):
            able |= 1 << number
    short = []
    for kind, alone in _each_alone(shape):
        if pool.room(alone, able) < request.nodes_min:
            needed = {"CPUs": shape.cpus, "GPUs": shape.gpus, "memory": shape.memory_bytes}[kind]
            free = _free(kind, pool, able, request.gpu_type)
            short.append(Shortage(kind=kind, needed=needed * request.nodes_min, free=free))
    if not short:
        free = pool.room(shape, able)
        short = [Shortage(kind="nodes", needed=request.nodes_min, free=free)]
    return Resources(request=request, short=tuple(short))


def _each_alone(shape: Shape) -> list[tuple[str, Shape]]:
    """The shape as if only one kind counted."""
    found = [("CPUs", Shape(shape.cpus, 0, None, 0))]
    if shape.gpus:
        found.append(("GPUs", Shape(0, shape.gpus, shape.gpu_type, 0)))
    if shape.memory_bytes:
        found.append(("memory", Shape(0, 0, None, shape.memory_bytes)))
    return found


def _free(kind: str, pool: Pool, nodes: int, gpu_type: str | None) -> int:
    total = 0
    for level, members in pool.levels.items():
        count = (members & nodes).bit_count()
        if not count:
            continue
        if kind == "CPUs":
            total += count * max(0, level[1])
        elif kind == "memory":
            total += count * max(0, level[2])
        else:
            gpus = pool.kinds.specs[(members & nodes).bit_length() - 1].gpus
            types = [name for name, _ in gpus]
            total += count * sum(
                free
                for name, free in zip(types, level[3:], strict=True)
                if is_kind_name(name, gpu_type)
            )
    return total


def never_fits(request: Request, nodes: Sequence[NodeSpec]) -> NeverFits | None:
    """The reason why ``request`` does not even fit on the empty nodes, or None when it does."""
    pool, everywhere = Pool.empty(nodes), (1 << len(nodes)) - 1
    fitting = pool.room(shape_of(request), everywhere)
    if fitting >= request.nodes_min:
        return None
    return NeverFits(
        request=request,
        fitting_nodes=fitting,
        nodes=len(nodes),
        cpus=sum(node.cpus for node in nodes),
        gpus=_free("GPUs", pool, everywhere, request.gpu_type),
        memory_bytes=sum(node.memory_bytes for node in nodes),
    )
