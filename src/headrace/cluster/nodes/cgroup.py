"""Limits that control groups put on this process, versions 1 and 2, and what came of them.

The tightest limit between a process's group and the root of the hierarchy counts. Formats:
cgroups(7), Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from headrace.core.records import Record

_V1_MEMORY_UNLIMITED = 1 << 60

N = TypeVar("N", int, float)


class CgroupLimits(Record, frozen=True, kw_only=True):
    """None is no limit. ``cpu_quota`` is in CPUs."""

    cpu_quota: float | None
    memory_bytes: int | None
    pids_max: int | None


def parse_membership(text: str) -> dict[str, str]:
    """Group path per controller of /proc/PID/cgroup; version 2's is under the empty name."""
    found = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            found[controller] = path
    return found


def parse_cpu_max(text: str) -> float | None:
    """CPUs in a version 2 ``cpu.max``: "200000 100000" is 2.0, "max 100000" no limit."""
    quota, _, period = text.strip().partition(" ")
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return int(quota) / int(period)


def parse_limit(text: str) -> int | None:
    """A whole number, or None for "max", version 1's huge number, and what is no number."""
    word = text.strip()
    if not word.isdigit() or int(word) >= _V1_MEMORY_UNLIMITED:
        return None
    return int(word)


def read_limits(root: Path) -> CgroupLimits:
    """Limits of the process that ``root``/proc/self is."""
    membership = parse_membership(_text(root / "proc/self/cgroup"))
    top = root / "sys/fs/cgroup"
    v2 = _folders(top, membership.get("")) if (top / "cgroup.controllers").exists() else []
    cpu_v1 = _folders(top / "cpu", membership.get("cpu"))
    memory_v1 = _folders(top / "memory", membership.get("memory"))
    pids_v1 = _folders(top / "pids", membership.get("pids"))
    return CgroupLimits(
        cpu_quota=_smallest(
            [parse_cpu_max(_text(folder / "cpu.max")) for folder in v2]
            + [_quota_v1(folder) for folder in cpu_v1]
        ),
        memory_bytes=_smallest(
            [parse_limit(_text(folder / "memory.max")) for folder in v2]
            + [parse_limit(_text(folder / "memory.limit_in_bytes")) for folder in memory_v1]
        ),
        pids_max=_smallest([parse_limit(_text(folder / "pids.max")) for folder in (*v2, *pids_v1)]),
    )


def read_oom_kills(root: Path) -> int:
    """How many processes the kernel has killed for want of memory in the group of the process that
    ``root``/proc/self is, by the nearest group that counts; 0 where none does.

    Version 2 also counts those of the groups below it.
    """
    membership = parse_membership(_text(root / "proc/self/cgroup"))
    top = root / "sys/fs/cgroup"
    v2 = [folder / "memory.events" for folder in _folders(top, membership.get(""))]
    memory_v1 = _folders(top / "memory", membership.get("memory"))
    for file in (*v2, *(folder / "memory.oom_control" for folder in memory_v1)):
        for line in _text(file).splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.isdigit():
                return int(count)
    return 0


def _quota_v1(folder: Path) -> float | None:
    quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
    return parse_cpu_max(f"{quota.strip()} {period.strip()}")


def _folders(top: Path, path: str | None) -> list[Path]:
    """The group and all above it. In a container the path may lead nowhere: then the top alone."""
    if path is None:
        return []
    group = top / path.lstrip("/")
    found = [group, *group.parents] if ".." not in group.parts else [top]
    return [folder for folder in found if folder == top or top in folder.parents]


def _smallest(limits: Iterable[N | None]) -> N | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
