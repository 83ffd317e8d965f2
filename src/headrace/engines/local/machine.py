"""This machine as nodes: one divisible host, or the fixed virtual nodes the site file asks for."""

from collections.abc import Sequence
from typing import TypeVar

from headrace.cluster.nodes.node import Node
from headrace.engines.local.site import Site
from headrace.engines.local.table import SiteInvalid
from headrace.schedule.capacity import Capacity, Cpu, Gpu

_ADDRESS = "127.0.0.1"

T = TypeVar("T")


def nodes_of(machine: Node, site: Site) -> list[Capacity]:
    """What the scheduler hands out. Raise ``SiteInvalid`` when there are more nodes than CPUs.

    GPUs in MIG mode are left out: their slices are devices of their own that we do not give out.
    """
    numa_of = {cpu: numa.index for numa in machine.numa for cpu in numa.cpus}
    cpus = [Cpu(id=cpu, numa=numa_of.get(cpu, 0)) for cpu in machine.cpus[: site.cpus]]
    gpus = [
        Gpu(id=gpu.index, kind=gpu.name, numa=gpu.numa_node or 0)
        for gpu in machine.gpus
        if not gpu.mig
    ]
    memory_bytes = min(machine.memory_bytes, site.memory_bytes or machine.memory_bytes)
    name = machine.hostname.split(".")[0]
    if site.virtual_nodes is None:
        return [
            Capacity(
                name=name,
                address=_ADDRESS,
                cpus=tuple(cpus),
                gpus=tuple(gpus),
                memory_bytes=memory_bytes,
                divisible=True,
            )
        ]
    if site.virtual_nodes > len(cpus):
        raise SiteInvalid(
            f"{site.virtual_nodes} virtual nodes",
            f"each needs a CPU, and there are {len(cpus)} to share out",
            f"set [local] virtual_nodes to {len(cpus)} or less",
        )
    shares = zip(shared(cpus, site.virtual_nodes), shared(gpus, site.virtual_nodes), strict=True)
    return [
        Capacity(
            name=f"{name}-{number}",
            address=_ADDRESS,
            cpus=tuple(node_cpus),
            gpus=tuple(node_gpus),
            memory_bytes=memory_bytes // site.virtual_nodes,
        )
        for number, (node_cpus, node_gpus) in enumerate(shares)
    ]


def shared(items: Sequence[T], parts: int) -> list[Sequence[T]]:
    """Neighbouring items in ``parts`` shares whose sizes differ by at most one."""
    size, extra = divmod(len(items), parts)
    starts = [part * size + min(part, extra) for part in range(parts + 1)]
    return [items[starts[part] : starts[part + 1]] for part in range(parts)]
