"""What is missing for a request: now, or even when nothing runs; and who holds what is missing."""

from collections.abc import Iterable, Iterator

from headrace.core.records import replace
from headrace.schedule.capacity import is_kind_name
from headrace.schedule.pool import Grants, Pool, Shape, numbers, shape_of
from headrace.schedule.reason import Holder, Largest, NeverFits, Resources, Shortage
from headrace.schedule.request import Request
from headrace.schedule.state import Active

_HOLDERS = 3


def shortage(request: Request, pool: Pool, empty: Pool, allowed: int) -> Resources:
    """What keeps ``request`` from fitting into ``pool`` on the ``allowed`` nodes."""
    shape = shape_of(request)
    able = empty.fitting(shape, allowed)
    short = [
        Shortage(
            kind=kind,
            needed=each * request.nodes_min,
            free=_total(kind, pool, able, shape.gpu_type),
        )
        for kind, each, alone in _each_alone(shape)
        if pool.room(alone, able) < request.nodes_min
    ]
    if not short:
        free = pool.room(shape, able)
        short = [Shortage(kind="nodes", needed=request.nodes_min, free=free)]
    return Resources(request=request, short=tuple(short))


def never_fits(request: Request, empty: Pool, allowed: int) -> NeverFits:
    """Why ``request`` does not even fit when nothing runs."""
    shape = shape_of(request)
    too_large = [
        Largest(kind=kind, needed=each, most=_most(kind, empty, allowed, shape.gpu_type))
        for kind, each, alone in _each_alone(shape)
        if not empty.room(alone, allowed)
    ]
    return NeverFits(
        request=request,
        fitting_nodes=empty.room(shape, allowed),
        nodes=allowed.bit_count(),
        cpus=_total("CPUs", empty, allowed, None),
        gpus=_total("GPUs", empty, allowed, shape.gpu_type),
        memory_bytes=_total("memory", empty, allowed, None),
        too_large=tuple(too_large),
    )


def with_holders(
    found: Resources, empty: Pool, allowed: int, active: Iterable[Active]
) -> Resources:
    """``found`` with those of ``active``, which come by their ends, that hold what is short."""
    able = empty.fitting(shape_of(found.request), allowed)
    runs = list(active)
    return replace(found, short=tuple(_held(one, found, empty, able, runs) for one in found.short))


def _held(short: Shortage, found: Resources, pool: Pool, able: int, runs: list[Active]) -> Shortage:
    holders, held_by = [], 0
    for run in runs:
        amount = _held_of(short.kind, run.grants, pool, able, found.request.gpu_type)
        if not amount:
            continue
        held_by += 1
        if held_by <= _HOLDERS:
            until_s = None if run.job.limit_s is None else run.end_s
            holders.append(Holder(run=run.job.id, amount=amount, until_s=until_s))
    return replace(short, holders=tuple(holders), held_by=held_by)


def _held_of(kind: str, grants: Grants, pool: Pool, able: int, gpu_type: str | None) -> int:
    total = 0
    for grant in grants:
        for node in numbers(grant.nodes & able):
            if kind == "nodes":
                total += grant.slices
            else:
                total += _amount(kind, pool, node, grant.take, gpu_type)
    return total


def _each_alone(shape: Shape) -> Iterator[tuple[str, int, Shape]]:
    """Kind, amount of a slice, and the shape as if only that kind counted."""
    yield "CPUs", shape.cpus, Shape(shape.cpus, 0, None, 0)
    if shape.gpus:
        yield "GPUs", shape.gpus, Shape(0, shape.gpus, shape.gpu_type, 0)
    if shape.memory_bytes:
        yield "memory", shape.memory_bytes, Shape(0, 0, None, shape.memory_bytes)


def _total(kind: str, pool: Pool, nodes: int, gpu_type: str | None) -> int:
    return sum(
        members.bit_count() * max(0, amount)
        for members, amount in _amounts(kind, pool, nodes, gpu_type)
    )


def _most(kind: str, pool: Pool, nodes: int, gpu_type: str | None) -> int:
    return max((amount for _, amount in _amounts(kind, pool, nodes, gpu_type)), default=0)


def _amounts(kind: str, pool: Pool, nodes: int, gpu_type: str | None) -> Iterator[tuple[int, int]]:
    """(nodes, what each of them has)."""
    for level, had in pool.levels.items():
        if members := had & nodes:
            node = members.bit_length() - 1
            yield members, _amount(kind, pool, node, level[1:], gpu_type)


def _amount(
    kind: str, pool: Pool, node: int, amounts: tuple[int, ...], gpu_type: str | None
) -> int:
    """``amounts``: CPUs, bytes, GPUs of each type of ``node``."""
    if kind != "GPUs":
        return amounts[0 if kind == "CPUs" else 1]
    types = pool.kinds.specs[node].gpus
    counts = zip(types, amounts[2:], strict=True)
    return sum(count for (name, _), count in counts if is_kind_name(name, gpu_type))
