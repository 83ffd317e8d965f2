"""The verbs of ``from headrace import simulate``, for programs and notebooks.

    trace = simulate.read("jobs.swf")
    found = simulate.compare(trace, ["fifo", "easy"], nodes="+16")
    found                                   # tables, in a notebook
    found["easy"].wait_s.p90                # seconds
    found.to_dict()                         # for JSON

Everything is deterministic: the same trace, policies and seed give the same figures.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from headrace.schedule.cluster import Cluster
from headrace.simulate.comparison import Comparison, Scenario
from headrace.simulate.comparison import compare as compare_scenario
from headrace.simulate.failures import parse_failures
from headrace.simulate.machine import onto, parse_cluster
from headrace.simulate.read import read_site, read_trace
from headrace.simulate.trace import Trace


def read(
    path: str | Path,
    *,
    format: str | None = None,
    cluster: str | Cluster | None = None,
    slurm_conf: str | Path | None = None,
    sacctmgr: str | Path | None = None,
) -> Trace:
    """A trace of any known format, told by its content, also packed (.xz, .gz, tar).

    ``cluster``: the nodes it ran on where the format does not say, as ``321x8gpu``.
    ``slurm_conf``, ``sacctmgr``: a Slurm site's own nodes, partitions, accounts, QOS, limits.
    Raise ``TraceUnusable``, ``FormatUnknown``, ``RowInvalid`` or ``ClusterInvalid``.
    """
    where = parse_cluster(cluster) if isinstance(cluster, str) else cluster
    accounts = Path(sacctmgr) if sacctmgr is not None else None
    site = None if slurm_conf is None else read_site(Path(slurm_conf), accounts=accounts)
    return read_trace(Path(path), format=format, cluster=where, site=site)


def compare(
    trace: Trace,
    policies: Iterable[str] = ("fifo", "easy"),
    *,
    nodes: str | None = None,
    cluster: str | Cluster | None = None,
    failures: str | None = None,
    seed: int = 0,
    curve: Sequence[int] = (),
    history: str | None = None,
) -> Comparison:
    """``trace`` under each policy, and the replay check against history.

    ``nodes``: a change such as ``+16``, ``+4:a100``, ``-8``. ``cluster``: other nodes altogether.
    ``failures``: a model, as ``rsc1`` or ``rate=4,repair=8h``. ``curve``: numbers of nodes to add,
    one replay each. ``history``: the policy the real cluster had.
    Raise ``NoCluster``, ``PolicyUnknown``, ``NodesInvalid``, ``FailuresUnknown``.
    """
    where = parse_cluster(cluster) if isinstance(cluster, str) else cluster
    scenario = Scenario(
        policies=tuple(policies),
        nodes=nodes,
        history=history,
        failures=None if failures is None else parse_failures(failures),
        seed=seed,
        added=tuple(curve),
    )
    return compare_scenario(trace if where is None else onto(trace, where), scenario)[0]


def replay(
    trace: Trace,
    policy: str,
    *,
    nodes: str | None = None,
    cluster: str | Cluster | None = None,
    failures: str | None = None,
    seed: int = 0,
) -> Comparison:
    """``compare`` with one policy, beside history where the trace has one."""
    return compare(trace, [policy], nodes=nodes, cluster=cluster, failures=failures, seed=seed)
