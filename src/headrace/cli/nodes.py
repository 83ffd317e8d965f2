"""``headrace nodes``: what this machine has and what may be used of it."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.cluster.nodes.node import Node

app = typer.Typer(rich_markup_mode=None, add_completion=False)
_GIB = 1 << 30


@app.command()
def nodes(
    as_json: Annotated[bool, typer.Option("--json", help="Print for a program.")] = False,
) -> None:
    """Show this machine's CPUs, memory, GPUs, disks and networks."""
    from headrace.cluster.nodes.probe import probe

    node = probe()
    if as_json:
        from headrace.core.records import encode

        typer.echo(encode({"schema": 1, "nodes": [node]}).decode())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for what, value in rows(node):
        table.add_row(Text(what, style="dim"), Text(value))
    console = Console(width=None if sys.stdout.isatty() else 80)
    console.print(Text(node.hostname, style="bold"))
    console.print(table)


def rows(node: "Node") -> "Iterator[tuple[str, str]]":
    """(what, value) in the order of interest. Numbers of CPUs are ranges: 0-7,16."""
    yield "kernel", node.kernel
    yield (
        "processors",
        f"{node.sockets} x {node.cpu_model}, {node.cores} cores, {node.threads} threads",
    )
    quota = "" if node.cpu_quota is None else f" (cgroup allows {node.cpu_quota:g} CPUs)"
    yield "usable CPUs", f"{len(node.cpus)}: {ranges(node.cpus)}{quota}"
    for numa in node.numa if len(node.numa) > 1 else ():
        yield f"NUMA {numa.index}", f"CPUs {ranges(numa.cpus)}, {_gib(numa.memory_bytes)}"
    limit = "" if node.memory_limit_bytes is None else ", limited by the cgroup"
    available = _gib(node.memory_available_bytes)
    yield "memory", f"{_gib(node.memory_bytes)} usable{limit}, {available} free on the machine"
    if node.shm_bytes is not None:
        yield "/dev/shm", _gib(node.shm_bytes)
    if node.driver:
        yield "GPU driver", f"{node.driver}, up to CUDA {node.cuda_driver}"
    for gpu in node.gpus:
        place = "" if gpu.numa_node is None else f", NUMA {gpu.numa_node}"
        power = "" if gpu.power_limit_w is None else f", {gpu.power_limit_w:.0f} W"
        mig = ", MIG" if gpu.mig else ""
        memory = _gib(gpu.memory_bytes)
        yield f"GPU {gpu.index}", f"{gpu.name}, {memory}{power}{place}, {gpu.pci_bus_id}{mig}"
    if not node.gpus:
        yield "GPUs", "none"
    for mount in node.mounts:
        if mount.path == "/dev/shm":
            continue
        disk = " NVMe" if mount.nvme else ""
        sizes = f"{_gib(mount.free_bytes)} of {_gib(mount.size_bytes)} free"
        if not mount.answers:
            sizes = "does not answer"
        yield mount.path, f"{mount.fstype}{disk}, {sizes}"
    for interface in node.interfaces:
        if interface.addresses or interface.state == "up":
            speed = interface.speed_mbit_s
            rate = "" if speed is None else f", {speed / 1000:g} Gbit/s"
            addresses = ", ".join(interface.addresses) or "no address"
            yield interface.name, f"{interface.state}{rate}, {addresses}"
    for rdma in node.rdma:
        speed_text = "" if rdma.rate_gbit_s is None else f", {rdma.rate_gbit_s:g} Gbit/s"
        yield f"{rdma.device}:{rdma.port}", f"{rdma.kind}, {rdma.state}{speed_text}"
    readable = "readable" if node.rapl_readable else "not readable by you"
    yield "energy counters", f"RAPL {', '.join(node.rapl)} ({readable})" if node.rapl else "none"


def ranges(cpus: "tuple[int, ...]") -> str:
    """ "0-3,8" for (0, 1, 2, 3, 8)."""
    parts: list[list[int]] = []
    for cpu in sorted(cpus):
        if parts and cpu == parts[-1][1] + 1:
            parts[-1][1] = cpu
        else:
            parts.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / _GIB:,.1f} GiB"
