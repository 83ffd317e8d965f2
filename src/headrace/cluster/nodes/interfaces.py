"""Network interfaces and RDMA ports, from sysfs.

Formats: the kernel's Documentation/ABI/testing/sysfs-class-net and stable/sysfs-class-infiniband.
"""

import fcntl
import ipaddress
import re
import socket
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from headrace.cluster.nodes.node import Interface, Rdma

_SIOCGIFADDR = 0x8915


def rdma_kind(device: str, link_layer: str) -> str:
    """infiniband, roce, omnipath, efa or other. An hfi1 device calls its link layer InfiniBand."""
    if device.startswith("hfi1_"):
        return "omnipath"
    if device.startswith(("efa_", "rdmap")):
        return "efa"
    return {"InfiniBand": "infiniband", "Ethernet": "roce"}.get(link_layer.strip(), "other")


def parse_rate(text: str) -> float | None:
    """Gbit/s in "400 Gb/sec (4X NDR)"."""
    found = re.match(r"([\d.]+) Gb/sec", text)
    return float(found[1]) if found else None


def parse_port_state(text: str) -> str:
    """ "active" in "4: ACTIVE"."""
    return text.partition(":")[2].strip().lower() or "unknown"


def read_rdma(root: Path) -> tuple[Rdma, ...]:
    """All ports of all devices, in the order of their names."""
    found = []
    for port in sorted((root / "sys/class/infiniband").glob("*/ports/[0-9]*")):
        device = port.parent.parent
        try:
            interfaces = sorted(path.name for path in (device / "device/net").iterdir())
        except OSError:
            interfaces = []
        found.append(
            Rdma(
                device=device.name,
                port=int(port.name),
                kind=rdma_kind(device.name, _text(port / "link_layer")),
                state=parse_port_state(_text(port / "state")),
                rate_gbit_s=parse_rate(_text(port / "rate")),
                interface=interfaces[0] if interfaces else None,
            )
        )
    return tuple(found)


def parse_if_inet6(text: str) -> dict[str, list[str]]:
    """IPv6 addresses per interface of /proc/net/if_inet6."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 6:
            found.setdefault(fields[5], []).append(str(ipaddress.IPv6Address(int(fields[0], 16))))
    return found


def read_interfaces(root: Path, ipv4: Mapping[str, str]) -> tuple[Interface, ...]:
    """Interfaces but the loopback. ``ipv4``: address per name, since no file has it."""
    ipv6 = parse_if_inet6(_text(root / "proc/net/if_inet6"))
    found = []
    for folder in sorted((root / "sys/class/net").glob("*")):
        if folder.name == "lo" or not folder.is_dir():
            continue
        speed = _text(folder / "speed").strip()
        try:
            driver = (folder / "device/driver").readlink().name
        except OSError:
            driver = None
        four = ipv4.get(folder.name)
        found.append(
            Interface(
                name=folder.name,
                addresses=(*([four] if four else []), *ipv6.get(folder.name, [])),
                speed_mbit_s=int(speed) if speed.isdigit() else None,
                state=_text(folder / "operstate").strip() or "unknown",
                driver=driver,
            )
        )
    return tuple(found)


def read_ipv4(names: Sequence[str]) -> dict[str, str]:
    """First IPv4 address of each interface that has one, by SIOCGIFADDR (netdevice(7))."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for name in names:
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(asked.fileno(), _SIOCGIFADDR, request)
            except OSError:
                continue
            found[name] = socket.inet_ntoa(answer[20:24])
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
