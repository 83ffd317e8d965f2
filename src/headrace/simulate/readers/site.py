"""What a Slurm site's files say together: nodes, rules, and what a trace of it leaves open."""

from collections.abc import Mapping
from types import MappingProxyType

from headrace.core.records import Record
from headrace.schedule.cluster import Cluster


class DefaultMemory(Record, frozen=True, kw_only=True):
    """What a job that names no memory gets, from DefMemPerCPU, DefMemPerGPU or DefMemPerNode."""

    per_cpu_bytes: int = 0
    per_gpu_bytes: int = 0
    per_node_bytes: int = 0


class SlurmSite(Record, frozen=True, kw_only=True):
    """``memory``: by partition; "" holds where a partition says nothing.

    ``default_accounts``: by user. ``notes``: what is not modelled, for people.
    """

    cluster: Cluster
    memory: Mapping[str, DefaultMemory] = MappingProxyType({})
    default_accounts: Mapping[str, str] = MappingProxyType({})
    notes: tuple[str, ...] = ()
