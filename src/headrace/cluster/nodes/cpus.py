"""CPUs, NUMA nodes and memory of one machine, from /proc and /sys."""

import re
from pathlib import Path

from headrace.cluster.nodes.node import NumaNode
from headrace.core.records import Record


class Topology(Record, frozen=True, kw_only=True):
    """``threads`` counts online logical CPUs."""

    sockets: int
    cores: int
    threads: int


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """(0, 1, 2, 8) for the kernel's "0-2,8"."""
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            found.extend(range(int(first), int(last or first) + 1))
    return tuple(found)


def parse_meminfo(text: str) -> dict[str, int]:
    """Bytes per name of /proc/meminfo, also of a NUMA node's ("Node 0 MemTotal: ...")."""
    return {
        name: int(kib) * 1024
        for name, kib in re.findall(r"^(?:Node \d+ )?(\S+?):\s+(\d+) kB", text, re.MULTILINE)
    }


def parse_cpu_model(cpuinfo: str) -> str:
    """The first model name; "unknown" where the architecture does not print one."""
    found = re.search(r"^(?:model name|cpu model|Model)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return " ".join(found[1].split()) if found else "unknown"


def parse_allowed(status: str) -> tuple[int, ...]:
    """The affinity mask in /proc/PID/status."""
    found = re.search(r"^Cpus_allowed_list:\s*(\S+)$", status, re.MULTILINE)
    return parse_cpu_list(found[1]) if found else ()


def read_topology(root: Path) -> Topology:
    """Where the kernel shows no topology, every thread counts as a core of one socket."""
    folder = root / "sys/devices/system/cpu"
    try:
        online = parse_cpu_list((folder / "online").read_text())
    except OSError:
        online = ()
    places: set[tuple[str, str]] = set()
    for cpu in online:
        try:
            package = (folder / f"cpu{cpu}/topology/physical_package_id").read_text()
            core = (folder / f"cpu{cpu}/topology/core_id").read_text()
        except OSError:
            places.add(("0", str(cpu)))
        else:
            places.add((package, core))
    return Topology(
        sockets=len({package for package, _ in places}), cores=len(places), threads=len(online)
    )


def read_numa(root: Path) -> tuple[NumaNode, ...]:
    """NUMA nodes with memory or CPUs, ascending."""
    found = []
    for folder in (root / "sys/devices/system/node").glob("node[0-9]*"):
        memory = parse_meminfo((folder / "meminfo").read_text())
        found.append(
            NumaNode(
                index=int(folder.name.removeprefix("node")),
                cpus=parse_cpu_list((folder / "cpulist").read_text()),
                memory_bytes=memory.get("MemTotal", 0),
            )
        )
    return tuple(sorted(found, key=lambda node: node.index))
