"""The nodes and the rules of a site: partitions, accounts, QOS, limits, with Slurm's names.

Read from a site file by an engine, or from slurm.conf and an association dump by ``simulate``.
"""

from headrace.core.records import Record
from headrace.schedule.slurm_scheduling import SlurmScheduling


class NodeSpec(Record, frozen=True, kw_only=True):
    """One node, empty. ``gpus``: (type, count) pairs.

    ``divisible``: one run may get several slices of it; any other node holds at most one slice of
    a run. ``switch``: path of the leaf it hangs on, from the root, ``core/leaf3``.
    """

    name: str
    cpus: int
    memory_bytes: int = 0
    gpus: tuple[tuple[str, int], ...] = ()
    features: tuple[str, ...] = ()
    switch: str = ""
    divisible: bool = False


class Tres(Record, frozen=True, kw_only=True):
    """Trackable resources; as a limit, None is no limit. Memory in bytes."""

    cpu: float | None = None
    gpu: float | None = None
    node: float | None = None
    memory: float | None = None
    billing: float | None = None


class Limits(Record, frozen=True, kw_only=True):
    """Slurm's limits. ``grp_*`` hold for an association (or QOS) and all below it together.

    ``*_pu``: per user, ``*_pa``: per account; ``max_tres``: per run. Minutes as in Slurm.
    """

    grp_jobs: int | None = None
    grp_submit_jobs: int | None = None
    grp_tres: Tres = Tres()
    grp_tres_mins: Tres = Tres()
    grp_wall_s: float | None = None
    max_jobs: int | None = None
    max_submit_jobs: int | None = None
    max_jobs_pu: int | None = None
    max_submit_jobs_pu: int | None = None
    max_jobs_pa: int | None = None
    max_submit_jobs_pa: int | None = None
    max_tres: Tres = Tres()
    max_tres_pu: Tres = Tres()
    max_tres_pa: Tres = Tres()
    max_wall_s: float | None = None


class Account(Record, frozen=True, kw_only=True):
    """An account, or with ``user`` a user's association in it. ``parent``: None is the root.

    ``shares`` None is Slurm's fairshare=parent. ``priority`` is what PriorityWeightAssoc weighs.
    """

    name: str
    parent: str | None = None
    user: str | None = None
    shares: int | None = 1
    priority: int = 0
    limits: Limits = Limits()
    default_qos: str | None = None
    qos: tuple[str, ...] = ()


class Qos(Record, frozen=True, kw_only=True):
    """``preempts``: QOS whose runs it may displace. ``grace_s``: what a displaced run gets."""

    name: str
    priority: int = 0
    preempts: tuple[str, ...] = ()
    grace_s: float = 0.0
    exempt_s: float = 0.0
    usage_factor: float = 1.0
    limits: Limits = Limits()
    deny_on_limit: bool = False


class Partition(Record, frozen=True, kw_only=True):
    """``nodes``: names; none means all. ``tier`` comes before any priority."""

    name: str
    nodes: tuple[str, ...] = ()
    default: bool = False
    tier: int = 1
    job_factor: int = 1
    max_time_s: float | None = None
    default_time_s: float | None = None
    max_nodes: int | None = None
    allow_accounts: tuple[str, ...] = ()
    allow_qos: tuple[str, ...] = ()
    qos: str | None = None
    billing: Tres = Tres(cpu=1.0)


class Reservation(Record, frozen=True, kw_only=True):
    """``nodes`` are kept from ``start_s`` to ``end_s`` for these users and accounts.

    With ``maintenance`` for nobody.
    """

    name: str
    start_s: float
    end_s: float
    nodes: tuple[str, ...]
    users: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    maintenance: bool = False


class Weights(Record, frozen=True, kw_only=True):
    """Slurm's PriorityWeight*, and the constants that go with them.

    ``no_normal``: of assoc, partition, qos, tres: those weighed as they are, not as a share of the
    highest (Slurm's NO_NORMAL_* flags).
    """

    age: int = 0
    assoc: int = 0
    fairshare: int = 0
    job_size: int = 0
    partition: int = 0
    qos: int = 0
    tres: Tres = Tres()
    max_age_s: float = 7 * 86_400.0
    half_life_s: float = 7 * 86_400.0
    calc_period_s: float = 300.0
    favor_small: bool = False
    small_relative_to_time: bool = False
    fair_tree: bool = True
    dampening: int = 1
    max_tres: bool = False
    no_normal: tuple[str, ...] = ()


class Elastic(Record, frozen=True, kw_only=True):
    """A resize costs a checkpoint and a start, so a run is resized at most once in ``rest_s``.

    ``grace_s``: what it gets to save and leave.
    """

    rest_s: float = 60.0
    grace_s: float = 60.0


class Cluster(Record, frozen=True, kw_only=True):
    """All of a site that scheduling depends on. No accounts: everybody is equal and unlimited.

    ``scheduling``: how the policy "slurm" is set.
    """

    nodes: tuple[NodeSpec, ...]
    partitions: tuple[Partition, ...] = ()
    accounts: tuple[Account, ...] = ()
    qos: tuple[Qos, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    weights: Weights = Weights()
    elastic: Elastic = Elastic()
    scheduling: SlurmScheduling = SlurmScheduling()
