"""The commands that lay the network: a bridge, a cable to each node. Pure.

The machine's end of a cable is a port of the bridge; the other end is eth0 of the node.
"""

from headrace.cluster.bringup.boot import shape
from headrace.cluster.bringup.plan import Box, Cluster


def bridge_commands(cluster: Cluster) -> list[list[str]]:
    return [
        ["ip", "link", "add", cluster.bridge, "type", "bridge"],
        ["ip", "address", "add", f"{cluster.machine_address}/24", "dev", cluster.bridge],
        ["ip", "link", "set", cluster.bridge, "up"],
    ]


def cable_commands(cluster: Cluster, box: Box, init_pid: int) -> list[list[str]]:
    """Plug the node in; ``init_pid`` is its process 1 as this machine numbers it."""
    peer = ["type", "veth", "peer", "name", "eth0", "netns", str(init_pid)]
    commands = [
        ["ip", "link", "add", box.link, *peer],
        ["ip", "link", "set", box.link, "master", cluster.bridge, "up"],
    ]
    if cluster.request.bandwidth is not None:
        commands.append(shape(box.link, cluster.request.bandwidth))
    return commands


def unplug_command(box: Box) -> list[str]:
    """Both ends go at once; the kernel takes its time with the cable of a box without power."""
    return ["ip", "link", "delete", box.link]


def cut_command(box: Box, *, cut: bool) -> list[str]:
    return ["ip", "link", "set", box.link, "down" if cut else "up"]
