"""The commands that lay the network: a bridge, a cable to each node. Pure.

The machine's end of a cable is a port of the bridge; the other end is eth0 of the node.
"""

from headrace.cluster.bringup.boot import shape
from headrace.cluster.bringup.plan import BRIDGE, Box, Cluster


def bridge_commands(cluster: Cluster) -> list[list[str]]:
    return [
        ["ip", "link", "add", BRIDGE, "type", "bridge"],
        ["ip", "address", "add", f"{cluster.head.address}/24", "dev", BRIDGE],
        ["ip", "link", "set", BRIDGE, "up"],
    ]


def cable_commands(cluster: Cluster, box: Box, init_pid: int) -> list[list[str]]:
    """Plug the node in; ``init_pid`` is its process 1 as this machine numbers it."""
    assert box.link is not None
    peer = ["type", "veth", "peer", "name", "eth0", "netns", str(init_pid)]
    commands = [
        ["ip", "link", "add", box.link, *peer],
        ["ip", "link", "set", box.link, "master", BRIDGE, "up"],
    ]
    if cluster.request.bandwidth is not None:
        commands.append(shape(box.link, cluster.request.bandwidth))
    return commands


def cut_command(box: Box, *, cut: bool) -> list[str]:
    assert box.link is not None
    return ["ip", "link", "set", box.link, "down" if cut else "up"]
