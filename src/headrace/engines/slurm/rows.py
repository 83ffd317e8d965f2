"""What Slurm's commands print, as records. Text shapes that 22.05 to 25.11 share. Pure.

Columns are asked for by name and separated by "|", the free text last; JSON is not used, since its
shapes drift from release to release.
"""

import re
from collections.abc import Iterator
from datetime import datetime

from headrace.core.records import Record
from headrace.core.units import parse_bytes, parse_duration_s
from headrace.engines.slurm.hostlist import indices

QUEUE_FORMAT = "%A|%F|%K|%T|%S|%e|%P|%Q|%D|%N|%j|%r"
ACCOUNTING_FIELDS = "JobID,State,ExitCode,Start,End"
NODE_FORMAT = "%N|%c|%m|%G|%R|%f|%T"
_FIELD = re.compile(r"(?:^|\s)([A-Za-z][\w/:]*)=")
_UNSET = ("", "(null)", "N/A", "None", "Unknown", "UNLIMITED", "INFINITE", "n/a")


class QueueRow(Record, frozen=True, kw_only=True):
    """A line of squeue. ``array_job_id``: that of a plain job is its own id.

    ``elements``: empty for a plain job, one for an element on its own, all that still wait for the
    rest of an array. ``start_s``, ``end_s``: of a job that has not got there, the estimate.
    """

    job_id: str
    array_job_id: str
    elements: tuple[int, ...]
    state: str
    start_s: float | None
    end_s: float | None
    partition: str
    priority: int
    nodes: int
    node_list: str
    name: str
    reason: str


class AccountingRow(Record, frozen=True, kw_only=True):
    """A line of sacct. ``job_id``: 4711, or 4711_3."""

    job_id: str
    state: str
    exit_code: int
    signal: int
    start_s: float | None
    end_s: float | None


class NodeRow(Record, frozen=True, kw_only=True):
    """A line of sinfo: a node in one of its partitions."""

    name: str
    cpus: int
    memory_bytes: int
    gpus: int
    gpu_type: str
    partition: str
    features: tuple[str, ...]
    state: str


def parse_queue(text: str) -> list[QueueRow]:
    rows = []
    for line in text.splitlines():
        columns = line.split("|")
        if len(columns) < 12:
            continue
        job, array, element, state, start, end, partition, priority, nodes, where, *name, reason = (
            columns
        )
        rows.append(
            QueueRow(
                job_id=job,
                array_job_id=array,
                elements=indices(element),
                state=state.partition(" ")[0],
                start_s=parse_time_s(start),
                end_s=parse_time_s(end),
                partition=partition,
                priority=whole(priority),
                nodes=whole(nodes),
                node_list=where,
                name="|".join(name),
                reason=reason,
            )
        )
    return rows


def parse_accounting(text: str) -> list[AccountingRow]:
    """One row a job; of one that was requeued, the last. Elements that ended before they began, or
    still wait, share a line."""
    found: dict[str, AccountingRow] = {}
    for line in text.splitlines():
        columns = line.split("|")
        if len(columns) < 5 or "." in columns[0]:
            continue
        jobs, state, code, start, end = columns[:5]
        exit_code, _, number = code.partition(":")
        for job in _each(jobs):
            found[job] = AccountingRow(
                job_id=job,
                state=state.partition(" ")[0],
                exit_code=whole(exit_code),
                signal=whole(number),
                start_s=parse_time_s(start),
                end_s=parse_time_s(end),
            )
    return list(found.values())


def _each(jobs: str) -> list[str]:
    """ "4711_[0-2%2]" is 4711_0, 4711_1 and 4711_2."""
    array, bracket, elements = jobs.partition("[")
    return [f"{array}{index}" for index in indices(elements)] if bracket else [jobs]


def parse_nodes(text: str) -> list[NodeRow]:
    rows = []
    for line in text.splitlines():
        columns = line.split("|")
        if len(columns) != 7:
            continue
        name, cpus, memory, gres, partition, features, state = columns
        gpus, gpu_type = parse_gres(gres)
        rows.append(
            NodeRow(
                name=name,
                cpus=whole(cpus),
                memory_bytes=whole(memory) << 20,
                gpus=gpus,
                gpu_type=gpu_type,
                partition=partition,
                features=() if features in _UNSET else tuple(features.split(",")),
                state=state.rstrip("*~#!%$@^-+").lower(),
            )
        )
    return rows


def parse_gres(text: str) -> tuple[int, str]:
    """ "gpu:h100:8(S:0-1),nic:2" is (8, "h100"); no GPUs is (0, ""). Of several types, all."""
    total, kinds = 0, dict[str, None]()
    for one in re.sub(r"\([^)]*\)", "", text).split(","):
        name, *rest = one.strip().split(":")
        if name == "gpu":
            total += int(rest.pop()) if rest and rest[-1].isdecimal() else 1
            kinds |= dict.fromkeys(rest)
    return total, " ".join(kinds)


def parse_fields(text: str) -> list[dict[str, str]]:
    """Lines of ``scontrol --oneliner show``. A value goes up to the next KEY=."""
    return [dict(_pairs(line)) for line in text.splitlines() if "=" in line]


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    keys = list(_FIELD.finditer(line))
    for found, following in zip(keys, [*keys[1:], None], strict=True):
        end = len(line) if following is None else following.start()
        yield found[1], line[found.end() : end].strip()


def parse_config(text: str) -> dict[str, str]:
    """``scontrol show config``: "KillWait                = 30 sec"."""
    found = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and " " not in key.strip():
            found[key.strip()] = value.strip()
    return found


def parse_time_s(text: str) -> float | None:
    """ "2026-11-25T09:41:26" in this machine's time zone; None when it is not known."""
    if text in _UNSET:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def parse_limit_s(text: str) -> float | None:
    """A time limit, "1-00:00:00"; None is unlimited or not set."""
    if text in _UNSET:
        return None
    try:
        return float(parse_duration_s(text))
    except ValueError:
        return None


def parse_memory(text: str) -> int | None:
    try:
        return parse_bytes(text)
    except ValueError:
        return None


def parse_seconds(text: str) -> float:
    """ "30 sec", "00:02:00"; 0 when it is not set."""
    first = text.partition(" ")[0]
    if first.isdigit():
        return float(first)
    return parse_limit_s(first) or 0.0


def whole(text: str) -> int:
    """The number at its start; 0 where there is none."""
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0
