"""What one machine has: frozen records that ``probe`` fills and everything above reads.

A field that this machine does not tell is None or empty; a record is never guessed.
"""

from headrace.core.records import Record


class NumaNode(Record, frozen=True, kw_only=True):
    index: int
    cpus: tuple[int, ...]
    memory_bytes: int


class Gpu(Record, frozen=True, kw_only=True):
    """One NVML device. ``numa_node`` is None where the firmware does not say."""

    index: int
    name: str
    uuid: str
    memory_bytes: int
    pci_bus_id: str
    numa_node: int | None
    power_limit_w: float | None
    mig: bool
    energy_counter: bool


class Mount(Record, frozen=True, kw_only=True):
    """One mounted file system that holds files. ``inodes`` is 0 where it does not count them.

    ``answers`` False: it gave no answer in time, and its sizes are 0.
    """

    path: str
    source: str
    fstype: str
    size_bytes: int
    free_bytes: int
    inodes: int
    inodes_free: int
    nvme: bool
    answers: bool = True


class Rdma(Record, frozen=True, kw_only=True):
    """One port of an RDMA device. ``kind``: infiniband, roce, omnipath, efa or other.

    Omni-Path is known by its device name ``hfi1_*``: its link_layer file says InfiniBand.
    """

    device: str
    port: int
    kind: str
    state: str
    rate_gbit_s: float | None
    interface: str | None


class Interface(Record, frozen=True, kw_only=True):
    """One network interface, the loopback left out. ``state`` is the kernel's operstate."""

    name: str
    addresses: tuple[str, ...]
    speed_mbit_s: int | None
    state: str
    driver: str | None


class Limits(Record, frozen=True, kw_only=True):
    """Soft limits of this process; None is unlimited. ``pids_max``: the cgroup's or the host's."""

    memlock_bytes: int | None
    open_files: int | None
    processes: int | None
    pids_max: int | None


class Node(Record, frozen=True, kw_only=True):
    """One machine as this process may use it.

    ``cpus``: logical CPUs to give to ranks: the affinity mask, cut to its first ``cpu_quota`` CPUs
    where a cgroup limits CPU time. ``allowed_cpus``: the affinity mask itself. ``memory_bytes``:
    what may be used, the smaller of the machine's and the cgroup's limit.
    """

    hostname: str
    kernel: str
    cpu_model: str
    sockets: int
    cores: int
    threads: int
    cpus: tuple[int, ...]
    allowed_cpus: tuple[int, ...]
    cpu_quota: float | None
    governor: str | None
    numa: tuple[NumaNode, ...]
    memory_bytes: int
    memory_total_bytes: int
    memory_available_bytes: int
    memory_limit_bytes: int | None
    swap_used_bytes: int
    shm_bytes: int | None
    driver: str | None
    cuda_driver: str | None
    gpus: tuple[Gpu, ...]
    mounts: tuple[Mount, ...]
    interfaces: tuple[Interface, ...]
    rdma: tuple[Rdma, ...]
    rapl: tuple[str, ...]
    rapl_readable: bool
    limits: Limits
