"""A small cluster for tests of a queue: 3 nodes of 2 CPUs, partitions that overlap."""

from headrace.engines.slurm.everyone import Job
from headrace.engines.slurm.facts import Facts, PartitionFacts

NOW_S = 1_795_610_000.0


def facts() -> Facts:
    return Facts(
        cluster="virtual",
        version="22.05.8",
        kill_wait_s=30.0,
        max_array_size=1001,
        job_requeue=True,
        preempt_type="preempt/qos",
        preempt_mode="REQUEUE",
        send_user_signal=True,
        accounting=True,
        proctrack="proctrack/cgroup",
        task_plugin="task/cgroup",
        default_memory=True,
        priority_type="priority/multifactor",
        partitions=(
            PartitionFacts(
                name="main", default=True, max_time_s=86400.0, nodes=("n1", "n2", "n3"), cpus=6
            ),
            PartitionFacts(name="short", max_time_s=600.0, nodes=("n1", "n2"), cpus=4),
            PartitionFacts(name="tiny", max_time_s=86400.0, nodes=("n4",), cpus=2),
        ),
    )


def job(number: int, **changes: object) -> Job:
    given: dict[str, object] = {
        "job_id": str(number),
        "array_job_id": str(number),
        "elements": (),
        "state": "PENDING",
        "user": "bob",
        "partitions": ("main",),
        "priority": 1000,
        "width": 1,
        "cpus": 1,
        "limit_s": 3600.0,
        "start_s": None,
        "end_s": None,
        "submitted_s": NOW_S - 600.0 + number,
        "nodes": (),
        "account": "lab1",
        "qos": "normal",
        "reason": "Priority",
    }
    return Job(**(given | changes))  # type: ignore[arg-type]


def runs(number: int, *nodes: str, until_s: float, **changes: object) -> Job:
    """One that holds whole nodes for so long from now."""
    end_s = NOW_S + until_s
    held: dict[str, object] = {"nodes": nodes, "width": len(nodes), "cpus": 2 * len(nodes)}
    return job(
        number, state="RUNNING", start_s=NOW_S - 60, end_s=end_s, reason="None", **held, **changes
    )
