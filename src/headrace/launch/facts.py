"""What an agent sees on its node before any rank starts: what ``judge`` decides on."""

from headrace.cluster.nodes.gpu_use import GpuUse
from headrace.core.records import Record


class NodeFacts(Record, frozen=True, kw_only=True):
    """``port``: where the agent answers others, None where there are none on other hosts.

    ``interface``: the one that has the node's address. ``memlock_bytes``: the hard limit, which is
    in force; None is unlimited. ``clock_ahead_s``: before the lead's clock, true to
    ``clock_within_s``.
    ``survivors``: processes of the run that could not be killed. ``versions``: of what must be the
    same on all nodes; what is not there is left out.
    """

    address: str
    port: int | None = None
    interface: str | None = None
    memlock_bytes: int | None
    rdma: tuple[str, ...] = ()
    shm_bytes: int | None
    shm_free_bytes: int | None
    clock_ahead_s: float = 0.0
    clock_within_s: float = 0.0
    survivors: tuple[int, ...] = ()
    gpus: tuple[GpuUse, ...] = ()
    versions: dict[str, str] = {}  # noqa: RUF012


class Neighbour(Record, frozen=True, kw_only=True):
    """Another node, and where its agent answers."""

    node: str
    address: str
    port: int
