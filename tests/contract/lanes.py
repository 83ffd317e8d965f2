"""Parts of one virtual cluster, so that what mostly waits can wait side by side.

A lane is three nodes that are a partition of their own.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

from tests.integration.site import until
from tests.integration.virtual import Virtual, virtual_cluster

NODES = 3
_MEMORY_MIB = 2000
_IDLE_S = 240.0
_T = TypeVar("_T")


class Lane:
    """``number`` counts from 1."""

    def __init__(self, cluster: Virtual, number: int) -> None:
        self.cluster = cluster
        self.partition = f"lane{number}"
        self.nodes = tuple(
            f"n{last}" for last in range((number - 1) * NODES + 1, number * NODES + 1)
        )

    def await_idle(self) -> None:
        until(lambda: {self.cluster.states()[node] for node in self.nodes} == {"idle"}, _IDLE_S)

    @contextmanager
    def back(self, node: str) -> Iterator[None]:
        """Whatever happened to the node, it is started anew at the end, which takes less than to
        wait for Slurm to ask it again."""
        try:
            yield
        finally:
            self.cluster("start-node", node)
            self.await_idle()


@contextmanager
def cluster_of_lanes(lanes: int, proctrack: str) -> Iterator[list[Lane]]:
    spans = (f"lane{n}={(n - 1) * NODES + 1}-{n * NODES}" for n in range(1, lanes + 1))
    flags = ("--partitions", ",".join(spans), "--memory-mib", str(_MEMORY_MIB))
    with virtual_cluster(lanes * NODES, "--proctrack", proctrack, *flags) as made:
        yield [Lane(made, number) for number in range(1, lanes + 1)]


class Traffic:
    """Work that goes on side by side, each piece in a lane of its own, first come, first served.

    At the end of the context what has not begun is dropped, and what has is waited for.
    """

    def __init__(self, lanes: list[Lane]) -> None:
        self._free: SimpleQueue[Lane] = SimpleQueue()
        for lane in lanes:
            self._free.put(lane)
        self._pool = ThreadPoolExecutor(len(lanes))

    def __enter__(self) -> "Traffic":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def submit(self, work: Callable[[Lane], _T]) -> Future[_T]:
        return self._pool.submit(self._run, work)

    def _run(self, work: Callable[[Lane], _T]) -> _T:
        lane = self._free.get()
        try:
            return work(lane)
        finally:
            self._free.put(lane)
