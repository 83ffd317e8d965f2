"""A replay as files: start times, Batsim's results (as evalys reads them), SWF.

Each writer gives the text piece by piece; ``save`` puts it on the disk, whole or not at all.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from headrace.core.records import write_file
from headrace.core.states import State
from headrace.schedule.cluster import Cluster
from headrace.schedule.request import Request
from headrace.simulate.errors import TraceUnusable
from headrace.simulate.replay import Replay
from headrace.simulate.trace import TraceJob

_PIECE = 1 << 16
_SWF_STATUS = {State.COMPLETED: 1, State.CANCELLED: 5}
_SWF_FAILED = 0


def starts_csv(replay: Replay) -> Iterator[str]:
    """id,submit_s,start_s,end_s,allocated of every job; empty where it never started."""
    allocated: Sequence[str] = replay.allocated or [""] * len(replay.trace.jobs)
    columns = zip(replay.trace.jobs, replay.start_s, replay.end_s, allocated, strict=True)
    return _csv(
        ("id", "submit_s", "start_s", "end_s", "allocated"),
        ((one.job.id, one.job.submitted_s, *rest) for one, *rest in columns),
    )


def batsim_jobs_csv(replay: Replay) -> Iterator[str]:
    """Batsim's out_jobs.csv: the jobs that ran, in the order of their ends."""
    ran = sorted(_ran(replay), key=lambda item: item[3])
    return _csv(_BATSIM_COLUMNS, (_batsim_row(*item) for item in ran))


_BATSIM_COLUMNS = (
    *("job_id", "workload_name", "submission_time", "requested_number_of_resources"),
    *("requested_time", "success", "starting_time", "execution_time", "finish_time"),
    *("waiting_time", "turnaround_time", "stretch", "consumed_energy", "allocated_resources"),
)


def _ran(replay: Replay) -> Iterator[tuple[TraceJob, int, float, float, str]]:
    """(job, slices, start, end, nodes) of what started."""
    allocated: Sequence[str] = replay.allocated or [""] * len(replay.trace.jobs)
    columns = (replay.trace.jobs, replay.slices, replay.start_s, replay.end_s, allocated)
    for one, slices, start_s, end_s, nodes in zip(*columns, strict=True):
        if start_s is not None and end_s is not None:
            yield one, slices, start_s, end_s, nodes


def _batsim_row(
    one: TraceJob, slices: int, start_s: float, end_s: float, nodes: str
) -> tuple[object, ...]:
    job, run_s, turnaround_s = one.job, end_s - start_s, end_s - one.job.submitted_s
    times_s = (start_s, run_s, end_s, start_s - job.submitted_s, turnaround_s)
    return (
        *(job.id, "w0", f"{job.submitted_s:.6f}", slices),
        f"{-1 if job.limit_s is None else job.limit_s:.6f}",
        int(one.state is State.COMPLETED),
        *(f"{time_s:.6f}" for time_s in times_s),
        f"{turnaround_s / run_s if run_s else 1:.6f}",
        *("-1", nodes),
    )


def batsim_schedule_csv(replay: Replay, cluster: Cluster) -> Iterator[str]:
    """Batsim's out_schedule.csv: one line of means and maxima over what ran."""
    ran = list(_ran(replay))
    waits = [start_s - one.job.submitted_s for one, _, start_s, _, _ in ran] or [0.0]
    turnarounds = [end_s - one.job.submitted_s for one, _, _, end_s, _ in ran] or [0.0]
    runs = [end_s - start_s for _, _, start_s, end_s, _ in ran] or [0.0]
    slowdowns = [long / run if run else 1.0 for long, run in zip(turnarounds, runs, strict=True)]
    good = sum(one.state is State.COMPLETED for one, *_ in ran)
    makespan_s = max((end_s for *_, end_s, _ in ran), default=0.0)
    busy_s = sum(run_s * slices for run_s, (_, slices, *_) in zip(runs, ran, strict=False))
    row = {
        "makespan": makespan_s,
        "max_slowdown": max(slowdowns),
        "max_turnaround_time": max(turnarounds),
        "max_waiting_time": max(waits),
        "mean_slowdown": sum(slowdowns) / len(slowdowns),
        "mean_turnaround_time": sum(turnarounds) / len(turnarounds),
        "mean_waiting_time": sum(waits) / len(waits),
        "nb_computing_machines": len(cluster.nodes),
        "nb_jobs": len(replay.trace.jobs),
        "nb_jobs_finished": len(ran),
        "nb_jobs_killed": sum(one.state is State.TIMEOUT for one, *_ in ran),
        "nb_jobs_success": good,
        "success_rate": good / max(1, len(ran)),
        "time_computing": busy_s,
        "time_idle": max(0.0, makespan_s * len(cluster.nodes) - busy_s),
    }
    values = (f"{value:.6f}" if isinstance(value, float) else value for value in row.values())
    return _csv(tuple(row), [tuple(values)])


def swf(replay: Replay, cluster: Cluster) -> Iterator[str]:
    """The replay as a log in SWF; processors are GPUs, or CPUs where a job has none.

    Jobs, users and accounts become numbers, in the order of submission; times are whole seconds.
    """
    processors = sum(_node_processors(node.gpus, node.cpus) for node in cluster.nodes)
    yield (
        "; Version: 2.2\n; UnixStartTime: 0\n"
        f"; MaxNodes: {len(cluster.nodes)}\n; MaxProcs: {processors}\n"
        f"; Note: {_one_line(replay.trace.name)} replayed under {_one_line(replay.policy)}\n"
    )
    users: dict[str, int] = {}
    groups: dict[str, int] = {}
    columns = zip(replay.trace.jobs, replay.start_s, replay.end_s, replay.slices, strict=True)
    for number, (one, start_s, end_s, slices) in enumerate(columns, start=1):
        job = one.job
        wait_s = _never(one) if start_s is None else start_s - job.submitted_s
        run_s = -1 if start_s is None or end_s is None else end_s - start_s
        status = 5 if start_s is None else _SWF_STATUS.get(one.state, _SWF_FAILED)
        each = _slice_processors(job.request)
        yield (
            f"{number} {round(job.submitted_s)} {round(wait_s)} {round(run_s)} "
            f"{slices * each if start_s is not None else -1} -1 -1 {job.request.nodes_max * each} "
            f"{-1 if job.limit_s is None else round(job.limit_s)} -1 {status} "
            f"{users.setdefault(job.user, len(users) + 1)} "
            f"{groups.setdefault(job.account, len(groups) + 1)} -1 -1 -1 -1 -1\n"
        )


def _never(one: TraceJob) -> float:
    """How long a job waited that never started; -1 where nobody cancelled it."""
    return -1 if one.cancelled_s is None else one.cancelled_s - one.job.submitted_s


def _slice_processors(request: Request) -> int:
    return request.gpus_per_node or request.cpus_per_node


def _node_processors(gpus: Sequence[tuple[str, int]], cpus: int) -> int:
    return sum(count for _, count in gpus) or cpus


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow(row)
        if buffer.tell() > _PIECE:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def save(path: Path, pieces: Iterable[str]) -> None:
    """Raise ``TraceUnusable`` where the folder does not take the file."""
    try:
        write_file(path, "".join(pieces).encode())
    except OSError as error:
        raise TraceUnusable(
            str(path),
            "cannot be written",
            why=error.strerror or str(error),
            remedy="choose a folder of yours that exists and has space",
        ) from None
