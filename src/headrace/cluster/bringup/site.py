"""What a Slurm site is: nodes, partitions, switches, accounts. Read from SITE.toml or made in code.

The fields are the keys of the file; ``docs/reference/virtual-cluster.md`` has an example. Sizes in
MiB and times in seconds, as slurm.conf(5) has them.
"""

from headrace.core.records import Record


class Part(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base: a key that is not a field is an error, not a typo that passes silently."""


class GpuSet(Part, frozen=True, kw_only=True):
    """GPUs of one type on a node. ``files`` is a Slurm list; ``cores`` those next to them."""

    type: str
    count: int
    files: str
    cores: str | None = None


class Nodes(Part, frozen=True, kw_only=True):
    """Nodes that are alike. ``names`` is a Slurm list: gpu[01-04].

    ``memory_mib`` is what jobs may have: keep some from the operating system's.
    """

    names: str
    sockets: int
    cores_per_socket: int
    threads_per_core: int
    memory_mib: int
    addresses: str | None = None
    gpus: tuple[GpuSet, ...] = ()
    features: tuple[str, ...] = ()
    weight: int | None = None

    @property
    def cpus(self) -> int:
        return self.sockets * self.cores_per_socket * self.threads_per_core


class Partition(Part, frozen=True, kw_only=True):
    """Times are Slurm's: minutes, or [days-]hours:minutes:seconds. ``tier`` ranks partitions."""

    name: str
    nodes: str
    default: bool = False
    max_time: str = "UNLIMITED"
    default_time: str = "1:00:00"
    tier: int = 1


class Switch(Part, frozen=True, kw_only=True):
    """Either ``nodes`` or ``switches`` hang on it."""

    name: str
    nodes: str | None = None
    switches: str | None = None


class Accounting(Part, frozen=True, kw_only=True):
    """slurmdbd and its database. ``storage_host`` "localhost" is the Unix socket there."""

    host: str
    address: str | None = None
    storage_host: str = "localhost"
    storage_user: str = "slurm"
    storage_password: str | None = None


class Places(Part, frozen=True, kw_only=True):
    """Folders. ``%n`` in ``spool`` and ``log`` is not ours: Slurm puts the node's name there.

    ``scratch`` is each node's own, never shared: PMIx of two nodes would clash there. None: /tmp.
    """

    state: str = "/var/spool/slurmctld"
    spool: str = "/var/spool/slurmd"
    log: str = "/var/log/slurm"
    run: str = "/run"
    scratch: str | None = None
    munge_socket: str | None = None


class Timing(Part, frozen=True, kw_only=True):
    """How fast Slurm notices and how long it waits. The defaults are Slurm's.

    ``credential_s``: how long a job's credential is good; a requeued job waits that long.
    """

    slurmd_timeout_s: int = 300
    kill_wait_s: int = 30
    credential_s: int = 120


class Site(Part, frozen=True, kw_only=True):
    """``proctrack``: cgroup, or linuxproc where slurmd has no control groups to write to.

    ``returns``: nodes that were down serve again when they answer, whatever the cause (Slurm's
    ReturnToService=2); otherwise only those that did not answer.
    """

    controller: str
    nodes: tuple[Nodes, ...]
    partitions: tuple[Partition, ...]
    cluster: str = "headrace"
    controller_address: str | None = None
    slurm_user: str = "slurm"
    switches: tuple[Switch, ...] = ()
    accounting: Accounting | None = None
    places: Places = Places()
    timing: Timing = Timing()
    proctrack: str = "cgroup"
    cgroup_plugin: str = "autodetect"
    bind_cores: bool = True
    trust_nodes: bool = False
    returns: bool = False
    preempt_by_qos: bool = True
    max_array_size: int = 1001

    @property
    def gpus(self) -> bool:
        return any(group.gpus for group in self.nodes)
