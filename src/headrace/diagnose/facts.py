"""What rules judge: a machine and its software, as records."""

from headrace.cluster.nodes.node import Node
from headrace.core.records import Record


class Folder(Record, frozen=True, kw_only=True):
    """A folder Headrace writes to, and the file system that holds it (nearest folder that exists).

    ``network``: the file system reaches over a network. ``inodes`` is 0 where it does not count.
    ``answers`` False: it did not answer in time, and sizes are 0. ``weakness``: why "flush, then
    rename" is not safe there, if so.
    """

    role: str
    path: str
    fstype: str
    network: bool
    size_bytes: int
    free_bytes: int
    inodes: int
    inodes_free: int
    answers: bool = True
    weakness: str | None = None


class Software(Record, frozen=True, kw_only=True):
    """``python``: (3, 11). ``torch_cuda``: the CUDA release torch was built for, None without."""

    python: tuple[int, int]
    torch: str | None = None
    torch_cuda: str | None = None
    psm2_nccl: bool = False


class Facts(Record, frozen=True, kw_only=True):
    """``clock_synchronised`` and ``kernel_log`` are None where this user may not know."""

    node: Node
    software: Software
    folders: tuple[Folder, ...] = ()
    clock_synchronised: bool | None = None
    kernel_log: str | None = None
