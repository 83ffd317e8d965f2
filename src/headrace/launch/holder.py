"""A process of the lead's host that holds the agents of some nodes: while it lives, so do they.

Either the guard of one agent on this host, forked off the lead, or the command of a batch system
that started agents elsewhere and stays until they have ended.
"""

import os
import signal
import time
from collections.abc import Sequence

from headrace.core.order import Order
from headrace.core.rundir import RunDir
from headrace.launch import guard


class Holder:
    """``nodes``: those whose agents it holds, and nobody else does. ``number``: of its start."""

    def __init__(self, nodes: Sequence[str], pid: int, number: int) -> None:
        self.nodes = set(nodes)
        self.number = number
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.started_at_s = time.monotonic()


def start(
    run: RunDir, order: Order, nodes: Sequence[str], *, host: str, port: int, number: int
) -> list[Holder]:
    """Start agents on ``nodes`` that will call the lead at ``host`` and ``port``.

    ``number``: of this start; agents say it, so that one of an earlier start that comes late is
    known as such.
    """
    if not order.agents_by:
        return [
            Holder([node], guard.start(run, node, host, port, number), number) for node in nodes
        ]
    words = {
        "count": str(len(nodes)),
        "nodes": ",".join(nodes),
        "host": host,
        "port": str(port),
        "start": str(number),
    }
    argv = [word.format_map(words) for word in order.agents_by]
    pid = os.posix_spawnp(
        argv[0],
        argv,
        os.environ,
        setsid=True,
        setsigdef=[signal.SIGTERM, signal.SIGUSR2, signal.SIGPIPE],
    )
    return [Holder(nodes, pid, number)]
