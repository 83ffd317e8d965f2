"""What a node can hand out: numbered CPUs and GPUs, and memory.

CPU and GPU numbers are those of the host, so that all nodes with the same ``address`` share one
number space, and no number is on two nodes.
"""

from headrace.core.records import Record


class Cpu(Record, frozen=True, kw_only=True):
    """A logical CPU. ``numa``: the memory node it sits at."""

    id: int
    numa: int = 0


class Gpu(Record, frozen=True, kw_only=True):
    """A GPU. ``kind``: its model, matched by a request's type without regard to case."""

    id: int
    kind: str
    numa: int = 0


class Capacity(Record, frozen=True, kw_only=True):
    """One node, empty.

    A ``divisible`` node is a whole host of which one run may get several slices, each named
    ``<name>-<i>`` and each a node to the run. Any other node holds at most one node of a run.
    """

    name: str
    address: str
    cpus: tuple[Cpu, ...]
    gpus: tuple[Gpu, ...] = ()
    memory_bytes: int
    divisible: bool = False
    features: tuple[str, ...] = ()
    switch: str = ""


def is_kind(gpu: Gpu, wanted: str | None) -> bool:
    return is_kind_name(gpu.kind, wanted)


def is_kind_name(kind: str, wanted: str | None) -> bool:
    """Whether a request for ``wanted`` may get this GPU: "h100" matches "NVIDIA H100 80GB HBM3"."""
    if wanted is None:
        return True
    words = kind.lower().replace("-", " ").replace("_", " ").split()
    return wanted.lower() == kind.lower() or wanted.lower() in words
