"""The Standard Workload Format, version 2.2, of the Parallel Workloads Archive.

The machine is one divisible node with as many CPUs as the header names processors: which processors
a job gets does not matter in this format. Times count from the log's own start.
"""

from functools import cache

from headrace.core.states import State
from headrace.schedule.cluster import Cluster, NodeSpec
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request
from headrace.simulate.readers.remarks import BadField, Remarks, finish, integer, number
from headrace.simulate.trace import Trace, TraceJob

_COLUMNS = 18
_LEAST_COLUMNS = 5
_NOT_TOLD = "-1"
_STATES = {1: State.COMPLETED, 0: State.FAILED, 5: State.CANCELLED}
_PARTS = (2, 3, 4)  # stretches of a job whose whole has a line of its own


def read(text: str, *, name: str) -> Trace:
    """Raise ``RowInvalid``."""
    remarks = Remarks(name)
    header: dict[str, int] = {}
    jobs: list[TraceJob] = []
    for line, words in enumerate(text.split("\n"), start=1):
        if words.lstrip().startswith(";"):
            _header(words, header)
        elif fields := words.split():
            try:
                if (job := _job(fields, remarks)) is not None:
                    jobs.append(job)
            except BadField as bad:
                remarks.damaged(line, bad)
    size = header.get("MaxProcs") or header.get("MaxNodes") or 0
    largest = max((one.job.request.nodes_min for one in jobs), default=0)
    if not size:
        size = largest
        remarks.say(f"no MaxProcs in the header: the machine has {size} CPUs, as its largest job")
    for one in jobs:
        if one.job.request.nodes_min > size:
            remarks.job(f"asked for more than the machine's {size} processors")
    node = NodeSpec(name="machine", cpus=max(1, size), divisible=True)
    return finish(jobs, remarks, cluster=Cluster(nodes=(node,)))


def _header(line: str, header: dict[str, int]) -> None:
    key, _, value = line.lstrip(" ;\t").partition(":")
    words = value.split()
    if key.strip() in ("MaxProcs", "MaxNodes") and words and words[0].isdecimal():
        header[key.strip()] = min(int(words[0][:12]), 10**9)


def _job(fields: list[str], remarks: Remarks) -> TraceJob | None:
    if len(fields) < _LEAST_COLUMNS:
        raise BadField("columns", len(fields), f"a line of SWF has {_COLUMNS} columns")
    fields += [_NOT_TOLD] * (_COLUMNS - len(fields))
    identity = str(integer("job", fields[0]))
    submit_s = number("submit time", fields[1], least=-1e12)
    wait_s, run_s = number("wait", fields[2], least=-1), number("run time", fields[3], least=-1)
    used, asked = (integer(field, fields[at], least=-1) for field, at in _PROCESSORS)
    status = integer("status", fields[10], least=-1)
    if status in _PARTS:
        remarks.job("were stretches of a job that has its own line; left out")
        return None
    processors = asked if asked > 0 else used
    if processors <= 0:
        raise BadField("processors", processors, "a job used or asked for 1 processor or more")
    if status not in _STATES:
        remarks.job("did not say how they ended; taken as completed")
    state = _STATES.get(status, State.COMPLETED)
    never_ran = state is State.CANCELLED and run_s <= 0
    if run_s < 0 and not never_ran:
        run_s = number("CPU time", fields[5], least=-1)
        if run_s < 0:
            raise BadField("run time", fields[3], "it must be known for a job that ran")
        remarks.job("had no run time; their CPU time stood in for it")
    limit_s: float | None = number("time requested", fields[8], least=-1)
    if limit_s is None or limit_s <= 0:
        limit_s = max(run_s, 1.0)
        remarks.job("named no time limit; their run time stood in for it, a perfect estimate")
    elif run_s > limit_s:
        remarks.job("ran longer than they asked for; kept as they ran")
    if integer("preceding job", fields[16], least=-1) > 0:
        remarks.job("followed another job; replayed at their recorded times")
    start_s = submit_s + wait_s if wait_s >= 0 and not never_ran else None
    return TraceJob(
        job=Queued(
            id=identity,
            request=_request(processors),
            submitted_s=submit_s,
            limit_s=limit_s,
            user=_named("user", fields[11]),
            account=_named("group", fields[12]),
        ),
        run_s=max(run_s, 0.0),
        state=state,
        cancelled_s=submit_s + max(wait_s, 0.0) if never_ran else None,
        start_s=start_s,
        end_s=None if start_s is None else start_s + run_s,
    )


_PROCESSORS = (("processors used", 4), ("processors requested", 7))


@cache
def _request(processors: int) -> Request:
    return Request(nodes_min=processors, nodes_max=processors)


def _named(kind: str, text: str) -> str:
    return "" if text == _NOT_TOLD else f"{kind}{text[:20]}"
