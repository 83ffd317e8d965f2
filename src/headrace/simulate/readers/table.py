"""Headrace's own CSV of jobs, described in docs/reference/trace-csv.md. What it writes it reads."""

import csv
import io
from collections.abc import Iterator
from functools import lru_cache

from headrace.core.records import replace
from headrace.core.states import State
from headrace.core.units import format_bytes, parse_bytes
from headrace.schedule.queue import After, Queued
from headrace.schedule.request import Request
from headrace.simulate.readers.columns import rows
from headrace.simulate.readers.remarks import BadField, Remarks, finish, integer, number
from headrace.simulate.trace import Trace, TraceJob

REQUIRED = ("id", "submit_s", "run_s")
COLUMNS = (
    *REQUIRED,
    *("nodes", "gpus_per_node", "ranks_per_node", "cpus_per_rank", "memory", "limit_s"),
    *("user", "account", "qos", "partitions", "constraint", "reservation", "priority", "nice"),
    *("held", "begin_s", "after", "array_id", "array_throttle"),
    *("state", "cancelled_s", "start_s", "end_s", "allocated"),
)
_CONDITIONS = ("ok", "notok", "any")
_NODES_MAX = 10_000_000


def read(text: str, *, name: str) -> Trace:
    """Raise ``RowInvalid``."""
    remarks = Remarks(name)
    jobs: list[TraceJob] = []
    for line, row in rows(text, remarks, required=REQUIRED):
        if not jobs:
            for column in sorted(row.keys() - set(COLUMNS)):
                remarks.say(f'column "{column}" is not one of this format; it was not read')
        try:
            jobs.append(_job(row))
        except BadField as bad:
            remarks.damaged(line, bad)
    known = {one.job.id for one in jobs}
    return finish((_known_before(one, known, remarks) for one in jobs), remarks)


def _known_before(one: TraceJob, known: set[str], remarks: Remarks) -> TraceJob:
    """It cannot wait for a job that is not in the trace."""
    after = tuple(before for before in one.job.after if before.run_id in known)
    if len(after) == len(one.job.after):
        return one
    remarks.job("waited for jobs that are not in the trace; they do not wait here")
    return replace(one, job=replace(one.job, after=after))


def _job(row: dict[str, str]) -> TraceJob:
    get = row.get
    identity = row["id"]
    if not identity or identity.split() != [identity]:
        raise BadField("id", identity, "it is a word, without spaces")
    return TraceJob(
        job=Queued(
            id=identity,
            request=_request(
                get("nodes") or "1",
                get("gpus_per_node") or "0",
                get("ranks_per_node") or "1",
                get("cpus_per_rank") or "1",
                get("memory") or "",
            ),
            submitted_s=number("submit_s", row["submit_s"], least=-1e12),
            limit_s=_time_s(row, "limit_s"),
            user=get("user", ""),
            account=get("account", ""),
            qos=get("qos") or "normal",
            partitions=tuple(get("partitions", "").split()),
            constraint=get("constraint") or None,
            reservation=get("reservation") or None,
            priority=_whole(row, "priority"),
            nice=_whole(row, "nice"),
            held=bool(_whole(row, "held")),
            begin_s=_time_s(row, "begin_s"),
            after=tuple(_after(part) for part in get("after", "").split()),
            array_id=get("array_id") or None,
            array_throttle=integer("array_throttle", throttle, least=1)
            if (throttle := get("array_throttle"))
            else None,
        ),
        run_s=number("run_s", row["run_s"]),
        state=_state(get("state") or State.COMPLETED),
        cancelled_s=_time_s(row, "cancelled_s"),
        start_s=_time_s(row, "start_s"),
        end_s=_time_s(row, "end_s"),
        allocated=get("allocated", ""),
    )


@lru_cache(maxsize=65_536)
def _request(nodes: str, gpus: str, ranks: str, cpus: str, memory: str) -> Request:
    low, dash, high = nodes.partition("-")
    least = integer("nodes", low, least=1)
    most = integer("nodes", high, least=1) if dash else least
    if not least <= most <= _NODES_MAX:
        raise BadField("nodes", nodes, f"it goes up, to {_NODES_MAX:,} at most")
    kind, _, count = gpus.rpartition(":")
    try:
        memory_bytes = parse_bytes(memory) if memory else None
    except ValueError as error:
        raise BadField("memory", memory, str(error)) from None
    return Request(
        nodes_min=least,
        nodes_max=most,
        ranks_per_node=integer("ranks_per_node", ranks, least=1),
        cpus_per_rank=integer("cpus_per_rank", cpus, least=1),
        gpus_per_node=integer("gpus_per_node", count),
        gpu_type=kind or None,
        memory_bytes=memory_bytes,
    )


def _time_s(row: dict[str, str], column: str) -> float | None:
    text = row.get(column)
    return number(column, text, least=-1e12) if text else None


def _whole(row: dict[str, str], column: str) -> int:
    text = row.get(column)
    return integer(column, text, least=-(10**12)) if text else 0


def _state(text: str) -> State:
    if text not in State.__members__:
        raise BadField("state", text, f"it is one of {', '.join(State)}")
    return State(text)


def _after(text: str) -> After:
    condition, colon, run_id = text.partition(":")
    if condition not in _CONDITIONS or not colon or not run_id:
        raise BadField("after", text, f"it is {':ID, '.join(_CONDITIONS)}:ID, with spaces between")
    return After(run_id=run_id, condition=condition, state=State.PENDING)


def write(trace: Trace) -> Iterator[str]:
    """The trace's jobs as lines of this CSV, the header first."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in trace.jobs:
        writer.writerow(_row(one))
        if buffer.tell() > 1 << 16:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _row(one: TraceJob) -> tuple[object, ...]:
    job, request = one.job, one.job.request
    low, high = request.nodes_min, request.nodes_max
    gpus = f"{request.gpu_type}:{request.gpus_per_node}" if request.gpu_type else None
    return (
        *(job.id, job.submitted_s, one.run_s),
        low if low == high else f"{low}-{high}",
        gpus or request.gpus_per_node,
        *(request.ranks_per_node, request.cpus_per_rank),
        "" if request.memory_bytes is None else format_bytes(request.memory_bytes),
        *(job.limit_s, job.user, job.account, job.qos, " ".join(job.partitions), job.constraint),
        *(job.reservation, job.priority or "", job.nice or "", int(job.held) or "", job.begin_s),
        " ".join(f"{after.condition}:{after.run_id}" for after in job.after),
        *(job.array_id, job.array_throttle),
        *(one.state, one.cancelled_s, one.start_s, one.end_s, one.allocated),
    )
