"""Microsoft's Philly jobs as CSV: timestamp, duration, num_gpus, gpu_time, cluster (a VC).

Nodes have 8 GPUs. A job of up to 8 GPUs sits on one node; a larger one gets whole nodes.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache

from headrace.schedule.cluster import Account, Cluster, NodeSpec, Partition
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request
from headrace.simulate.readers.columns import rows
from headrace.simulate.readers.remarks import BadField, Remarks, finish, integer, number
from headrace.simulate.trace import Trace, TraceJob

GPUS_PER_NODE = 8
_CPUS_PER_NODE = 8  # the trace does not speak of CPUs: one a GPU, so that they never decide
COLUMNS = ("timestamp", "duration", "num_gpus", "cluster")


def read(text: str, *, name: str, vc_nodes: Mapping[str, int] | None = None) -> Trace:
    """``vc_nodes``: nodes of each VC; then each VC is a partition of its own nodes.

    Raise ``RowInvalid``.
    """
    remarks = Remarks(name)
    remarks.say("no time limits and no end states in this format: run times stand in for limits")
    sizes = vc_nodes or {}
    jobs = []
    for line, row in rows(text, remarks, required=COLUMNS):
        try:
            jobs.append(_job(str(line - 1), row, sizes, remarks))
        except BadField as bad:
            remarks.damaged(line, bad)
    return finish(jobs, remarks, cluster=vc_cluster(sizes) if sizes else None)


def read_vc_nodes(text: str, *, name: str) -> dict[str, int]:
    """VC -> nodes, of a CSV with the columns "vc" and "node num". Raise ``RowInvalid``."""
    remarks = Remarks(name)
    sizes = {}
    for line, row in rows(text, remarks, required=("vc", "node num")):
        try:
            sizes[row["vc"]] = integer("node num", row["node num"], least=1)
            if sizes[row["vc"]] > 100_000:
                raise BadField("node num", row["node num"], "it is 100,000 at most")
        except BadField as bad:
            remarks.damaged(line, bad)
    remarks.close(len(sizes))
    return sizes


def vc_cluster(sizes: Mapping[str, int]) -> Cluster:
    """A partition of 8-GPU nodes for each VC."""
    members = {vc: [f"{vc}-{i:03}" for i in range(1, size + 1)] for vc, size in sizes.items()}
    gpus = (("gpu", GPUS_PER_NODE),)
    return Cluster(
        nodes=tuple(
            NodeSpec(name=name, cpus=_CPUS_PER_NODE, gpus=gpus)
            for names in members.values()
            for name in names
        ),
        partitions=tuple(Partition(name=vc, nodes=tuple(names)) for vc, names in members.items()),
        accounts=tuple(Account(name=vc, shares=size) for vc, size in sizes.items())
        + tuple(Account(name=vc, user=vc) for vc in sizes),
    )


def _job(
    identity: str, row: dict[str, str], sizes: Mapping[str, int], remarks: Remarks
) -> TraceJob:
    gpus = integer("num_gpus", row["num_gpus"], least=1)
    run_s = number("duration", row["duration"])
    try:
        at = datetime.fromisoformat(row["timestamp"])
        submit_s = at.replace(tzinfo=at.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        rule = "it is a time such as 2017-10-09 07:01:55"
        raise BadField("timestamp", row["timestamp"], rule) from None
    if gpus > GPUS_PER_NODE and gpus % GPUS_PER_NODE:
        remarks.job(f"asked for GPUs that do not fill nodes of {GPUS_PER_NODE}; given whole nodes")
    vc = row["cluster"]
    if sizes and vc not in sizes:
        remarks.job("were of a VC without nodes of its own; they may run on any")
    return TraceJob(
        job=Queued(
            id=identity,
            request=_request(gpus),
            submitted_s=submit_s,
            limit_s=max(run_s, 1.0),
            user=vc,
            account=vc,
            partitions=(vc,) if vc in sizes else (),
        ),
        run_s=run_s,
    )


@cache
def _request(gpus: int) -> Request:
    nodes = -(-gpus // GPUS_PER_NODE)
    each = gpus if nodes == 1 else GPUS_PER_NODE
    return Request(nodes_min=nodes, nodes_max=nodes, ranks_per_node=each, gpus_per_node=each)
