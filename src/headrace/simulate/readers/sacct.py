"""Slurm's accounting as ``sacct -P`` prints it, of releases from 20.11 on.

Each stretch that ran is a job of its own: what was requeued (``-D``) held nodes each time. A job
counts as waiting from Eligible on, so that holds, begin times and dependencies are not the fault of
a policy. What a job was given (AllocTRES) counts, or what it asked for where it never ran.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from headrace.core.records import replace
from headrace.core.states import State
from headrace.core.units import parse_bytes
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request
from headrace.simulate.readers.remarks import BadField, Remarks, finish, integer, number
from headrace.simulate.readers.sacct_rows import rows
from headrace.simulate.readers.site import SlurmSite
from headrace.simulate.trace import Trace, TraceJob

Row = dict[str, str]
_NO_TIME = ("", "Unknown", "None")
_WAITING = ("PENDING", "CONFIGURING", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT", "REVOKED")
_RUNNING = ("RUNNING", "SUSPENDED", "COMPLETING", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")
_STATES = {
    "COMPLETED": State.COMPLETED,
    "FAILED": State.FAILED,
    "CANCELLED": State.CANCELLED,
    "TIMEOUT": State.TIMEOUT,
    "DEADLINE": State.TIMEOUT,
    "NODE_FAIL": State.NODE_FAIL,
    "BOOT_FAIL": State.NODE_FAIL,
    "OUT_OF_MEMORY": State.OUT_OF_MEMORY,
    "LAUNCH_FAILED": State.FAILED,
    "PREEMPTED": State.CANCELLED,
    "REQUEUED": State.CANCELLED,
}
_DISPLACED = ("PREEMPTED", "REQUEUED")
_GPU = re.compile(r"gres/gpu(?::(.+))?")
_MEMORY = re.compile(r"([\d.]+)([KMGTP]?)([nc]?)\??", re.IGNORECASE)
_THROTTLE = re.compile(r"(?:--array[= ]|-a ?)\S*%(\d{1,6})")
_NODES_MAX = 1_000_000


def read(text: str, *, name: str, site: SlurmSite | None = None) -> Trace:
    """``site``: says what Partition_Limit is. Raise ``RowInvalid``."""
    remarks = Remarks(name)
    reader = _Reader(remarks, site)
    stretches: dict[tuple[str, str], TraceJob] = {}
    for line, row in rows(text, remarks):
        try:
            reader.take(row, stretches)
        except BadField as bad:
            remarks.damaged(line, bad)
    jobs = [reader.with_throttle(one) for one in stretches.values()]
    return finish(jobs, remarks, cluster=site.cluster if site else None)


class _Reader:
    def __init__(self, remarks: Remarks, site: SlurmSite | None) -> None:
        self.remarks = remarks
        partitions = site.cluster.partitions if site else ()
        self.longest_s = {one.name: one.max_time_s for one in partitions}
        self.throttles: dict[str, int] = {}

    def take(self, row: Row, stretches: dict[tuple[str, str], TraceJob]) -> None:
        """Add what this row tells of a job's stretch, or let a fuller telling of it stand."""
        shown = row.get("jobid") or row.get("jobidraw", "")
        if "." in shown:
            return  # a step: .batch, .extern, .0
        if not re.match(r"\d", shown):
            raise BadField("JobID", shown, "it begins with a number")
        word = row.get("state", "").split(" ")[0].rstrip("+")
        array, bracket, listed = shown.partition("_[")
        if bracket and (throttle := re.search(r"%(\d{1,6})", listed)):
            self.throttles[array] = int(throttle[1])
        if word in _WAITING:
            self.remarks.job("had not started when the dump was made; left out")
            return
        if word not in _STATES and word not in _RUNNING:
            raise BadField("State", row.get("state", ""), "it is a state of Slurm's")
        key = (row.get("jobidraw") or shown, row.get("start", "") or row.get("submit", ""))
        before = stretches.get(key)
        if before is not None:
            self.remarks.job("stood in the dump more than once; taken once")
            if word in _RUNNING:
                return
        stretches[key] = self._job(shown, word, row)

    def with_throttle(self, one: TraceJob) -> TraceJob:
        throttle = self.throttles.get(one.job.array_id or "")
        if throttle is None:
            return one
        return replace(one, job=replace(one.job, array_throttle=throttle))

    def _job(self, shown: str, word: str, row: Row) -> TraceJob:
        submit_s = self._time(row, "submit")
        if submit_s is None:
            raise BadField("Submit", row.get("submit", ""), "a job was submitted at some time")
        eligible_s, start_s, end_s = (self._time(row, name) for name in _TIMES)
        run_s = _elapsed_s(row, start_s, end_s)
        state = _STATES.get(word, State.COMPLETED)
        if word in _RUNNING:
            self.remarks.job("still ran when the dump was made; taken as ended then")
        if word in _DISPLACED:
            self.remarks.job("were stretches that ended by a requeue; each is a job of its own")
        if "+" in shown:
            self.remarks.job("were parts of heterogeneous jobs; each is a job of its own")
        cancelled_s = None
        if run_s == 0 and state in (State.CANCELLED, State.TIMEOUT) and _placeless(row):
            state, start_s = State.CANCELLED, None
            cancelled_s = submit_s if end_s is None else end_s
        elif start_s is None:
            raise BadField("Start", row.get("start", ""), "a job that ran started at some time")
        if eligible_s is not None and eligible_s > submit_s:
            self.remarks.job("could not start when submitted; their waits count from Eligible")
        nodes = row.get("nodelist", "")
        array, underscore, _ = shown.partition("_")
        if found := _THROTTLE.search(row.get("submitline", "")):
            self.throttles.setdefault(array, int(found[1]))
        return TraceJob(
            job=Queued(
                id=shown,
                request=_request(row),
                submitted_s=submit_s,
                limit_s=self._limit_s(row),
                user=row.get("user", ""),
                account=row.get("account", ""),
                qos=row.get("qos") or "normal",
                partitions=tuple(filter(None, row.get("partition", "").split(","))),
                constraint=self._constraint(row.get("constraints", "")),
                reservation=row.get("reservation") or None,
                held=eligible_s is None and cancelled_s is not None and "eligible" in row,
                begin_s=eligible_s if eligible_s is not None and eligible_s > submit_s else None,
                array_id=array if underscore else None,
            ),
            run_s=run_s,
            state=state,
            cancelled_s=cancelled_s,
            start_s=start_s,
            end_s=None if start_s is None else start_s + run_s,
            allocated="" if nodes == "None assigned" else nodes,
        )

    def _constraint(self, text: str) -> str | None:
        """[a*2&b*4], so many nodes of each: any of them here."""
        if "*" not in text:
            return text.strip("|") or None
        self.remarks.job("asked for so many nodes of each feature; given nodes of any of them")
        return "|".join(re.findall(r"[\w.:+-]+", re.sub(r"\*\d+", "", text)))

    def _time(self, row: Row, name: str) -> float | None:
        """Seconds. Times of day are local and carry no zone: taken as if it were UTC."""
        text = row.get(name, "")
        if text in _NO_TIME:
            return None
        if text.isdecimal():
            return number(name, text)
        self.remarks.say("times are local to the cluster; a change to summer time is not undone")
        try:
            return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
        except (ValueError, OverflowError):
            rule = "it is a time as 2026-01-31T12:00:00, seconds since 1970, or Unknown"
            raise BadField(name, text, rule) from None

    def _limit_s(self, row: Row) -> float | None:
        text = row.get("timelimitraw") or row.get("timelimit") or ""
        if text == "Partition_Limit":
            self.remarks.job("had their partition's time limit")
            return self.longest_s.get(row.get("partition", ""))
        if text in ("", "UNLIMITED"):
            return None
        if text.isdecimal():
            return number("TimelimitRaw", text) * 60
        return _span_s("Timelimit", text)


_TIMES = ("eligible", "start", "end")


def _placeless(row: Row) -> bool:
    """It never had nodes."""
    if "nodelist" in row:
        return row["nodelist"] in ("", "None assigned")
    return not row.get("alloctres")


def _elapsed_s(row: Row, start_s: float | None, end_s: float | None) -> float:
    if row.get("elapsedraw"):
        return number("ElapsedRaw", row["elapsedraw"])
    if row.get("elapsed"):
        return _span_s("Elapsed", row["elapsed"])
    if start_s is not None and end_s is not None and end_s >= start_s:
        return end_s - start_s
    raise BadField("Elapsed", "", "ElapsedRaw, Elapsed or Start and End say how long a job ran")


def _span_s(field: str, text: str) -> float:
    """[D-]HH:MM:SS, as sacct prints it."""
    found = re.fullmatch(r"(?:(\d{1,6})-)?(?:(\d{1,6}):)?(\d{1,2}):(\d{1,2})(?:\.\d+)?", text)
    if found is None:
        raise BadField(field, text, "it is [D-]HH:MM:SS")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _request(row: Row) -> Request:
    return _made(
        row.get("alloctres") or row.get("reqtres") or "",
        row.get("allocnodes", ""),
        row.get("nnodes") or row.get("reqnodes") or "1",
        row.get("alloccpus", ""),
        row.get("ncpus") or row.get("reqcpus") or "1",
        row.get("reqmem", ""),
    )


@lru_cache(maxsize=65_536)
def _made(
    tres: str, alloc_nodes: str, nodes: str, alloc_cpus: str, cpus: str, memory: str
) -> Request:
    pairs = dict(part.partition("=")[::2] for part in tres.split(","))
    count = integer("NNodes", pairs.get("node") or _some(alloc_nodes, nodes), least=1)
    if count > _NODES_MAX:
        raise BadField("NNodes", count, f"it is {_NODES_MAX:,} at most")
    total = integer("NCPUS", pairs.get("cpu") or _some(alloc_cpus, cpus), least=1)
    kind, gpus = _gpus(pairs)
    cpus_each = -(-total // count)
    return Request(
        nodes_min=count,
        nodes_max=count,
        cpus_per_rank=cpus_each,
        gpus_per_node=-(-gpus // count),
        gpu_type=kind,
        memory_bytes=_memory(pairs.get("mem", ""), memory, count, cpus_each),
    )


def _some(given: str, else_: str) -> str:
    return given if given not in ("", "0") else else_


def _gpus(pairs: Mapping[str, str]) -> tuple[str | None, int]:
    """(type, GPUs in all), with and without types: gres/gpu=8,gres/gpu:a100=8."""
    typed: dict[str, int] = {}
    plain = 0
    for name, value in pairs.items():
        if found := _GPU.fullmatch(name):
            if found[1]:
                typed[found[1]] = integer(name, value)
            else:
                plain = integer(name, value)
    return (next(iter(typed)) if len(typed) == 1 else None), plain or sum(typed.values())


def _memory(total: str, asked: str, nodes: int, cpus_each: int) -> int | None:
    """Bytes a node, of a job's total, or of ReqMem: c is a CPU, n a node, else the job."""
    found = _MEMORY.fullmatch(total or asked)
    if found is None:
        return None
    size = number("memory", found[1]) * parse_bytes(f"1{found[2] or 'M'}")
    each = {"c": size * cpus_each, "n": size}.get(found[3].lower(), size / nodes)
    return int(-(-each // 1)) or None
