"""Alibaba's openb pods (cluster-trace-gpu-v2023) and the list of nodes beside them.

A pod is one slice of one node. A pod of a part of a GPU holds a whole one here, and a part of a CPU
rounds up: which fractions fit on one GPU is not modelled, and waits come out rather too long than
too short. A node's GPU model is also a feature, for pods that name several models.
"""

from functools import cache

from headrace.core.states import State
from headrace.schedule.cluster import Cluster, NodeSpec
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request
from headrace.simulate.readers.columns import rows
from headrace.simulate.readers.remarks import BadField, Remarks, finish, integer, number
from headrace.simulate.trace import Trace, TraceJob

COLUMNS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "creation_time")
_NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
_MILLI = 1000
_MIB = 1 << 20
_STATES = {"Failed": State.FAILED, "Pending": State.CANCELLED}


def read(text: str, *, name: str, cluster: Cluster | None = None) -> Trace:
    """``cluster``: see ``read_nodes``. Raise ``RowInvalid``."""
    remarks = Remarks(name)
    remarks.say("no time limits in this format: run times stand in for limits, perfect estimates")
    jobs = []
    for line, row in rows(text, remarks, required=(*COLUMNS, "deletion_time")):
        try:
            jobs.append(_job(row, remarks))
        except BadField as bad:
            remarks.damaged(line, bad)
    return finish(jobs, remarks, cluster=cluster)


def read_nodes(text: str, *, name: str) -> Cluster:
    """The node list: sn, cpu_milli, memory_mib, gpu, model. Raise ``RowInvalid``."""
    remarks = Remarks(name)
    nodes = []
    for line, row in rows(text, remarks, required=_NODE_COLUMNS):
        try:
            gpus = integer("gpu", row["gpu"])
            nodes.append(
                NodeSpec(
                    name=row["sn"],
                    cpus=integer("cpu_milli", row["cpu_milli"], least=_MILLI) // _MILLI,
                    memory_bytes=integer("memory_mib", row["memory_mib"]) * _MIB,
                    gpus=((row["model"] or "gpu", gpus),) if gpus else (),
                    features=(row["model"],) if gpus and row["model"] else (),
                )
            )
        except BadField as bad:
            remarks.damaged(line, bad)
    remarks.close(len(nodes))
    return Cluster(nodes=tuple(nodes))


def _job(row: dict[str, str], remarks: Remarks) -> TraceJob:
    submit_s = number("creation_time", row["creation_time"])
    end_s = number("deletion_time", row["deletion_time"] or row["creation_time"])
    scheduled = row.get("scheduled_time") or ""
    start_s = number("scheduled_time", scheduled) if scheduled else None
    state = _STATES.get(row.get("pod_phase", ""), State.COMPLETED)
    gpus, milli = integer("num_gpu", row["num_gpu"]), integer("gpu_milli", row["gpu_milli"])
    if gpus and milli < _MILLI:
        remarks.job("asked for a part of a GPU; each holds a whole one here")
    run_s, cancelled_s = 0.0, None
    if start_s is None:
        remarks.job("never started in history; deleted here at the same time, if they still wait")
        state, cancelled_s = State.CANCELLED, end_s
    else:
        run_s = max(0.0, end_s - start_s)
    spec = row.get("gpu_spec", "")
    return TraceJob(
        job=Queued(
            id=row["name"],
            request=_request(
                -(-integer("cpu_milli", row["cpu_milli"]) // _MILLI),
                integer("memory_mib", row["memory_mib"]),
                gpus,
                "" if "|" in spec else spec,
            ),
            submitted_s=submit_s,
            limit_s=max(run_s, 1.0),
            constraint=spec if "|" in spec else None,
        ),
        run_s=run_s,
        state=state,
        cancelled_s=cancelled_s,
        start_s=start_s,
        end_s=None if start_s is None else end_s,
    )


@cache
def _request(cpus: int, memory_mib: int, gpus: int, kind: str) -> Request:
    return Request(
        cpus_per_rank=cpus or 1,
        gpus_per_node=gpus,
        gpu_type=kind or None,
        memory_bytes=memory_mib * _MIB or None,
    )
