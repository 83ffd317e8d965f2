"""Software and the system around it: Python, torch, the clock, limits, the kernel's kills. Pure."""

import re
from collections.abc import Iterator

from headrace.diagnose.facts import Facts
from headrace.diagnose.finding import Finding, Severity

_PYTHON_MIN = (3, 11)
_OPEN_FILES_MIN = 4096
_PIDS_MIN = 4096
_OOM = re.compile(r"(Memory cgroup out|Out) of memory: Killed process (\d+) \(([^)]*)\)")


def check(facts: Facts) -> Iterator[Finding]:
    yield from _versions(facts)
    yield from _limits(facts)
    if facts.clock_synchronised is False:
        yield Finding(
            code="HR-DOCTOR-153",
            severity=Severity.INFO,
            what="The clock is not synchronised.",
            evidence="adjtimex(2) answers TIME_ERROR",
            remedy="start chronyd or systemd-timesyncd: times of several hosts are compared",
        )
    kills = _OOM.findall(facts.kernel_log or "")
    if kills:
        where, pid, name = kills[-1]
        scope = "a cgroup" if where.startswith("Memory") else "the machine"
        yield Finding(
            code="HR-DOCTOR-156",
            severity=Severity.WARNING,
            what=f"The kernel killed {len(kills)} process{'es' if len(kills) > 1 else ''} because "
            f"{scope} ran out of memory.",
            evidence=f"kernel log, last: process {pid} ({name})",
            remedy="ask for more memory, use fewer data workers or a smaller micro-batch",
        )


def _versions(facts: Facts) -> Iterator[Finding]:
    major, minor = facts.software.python
    if (major, minor) < _PYTHON_MIN:
        yield Finding(
            code="HR-DOCTOR-151",
            severity=Severity.ERROR,
            what=f"Python {major}.{minor} is too old.",
            evidence="sys.version_info",
            remedy="use Python 3.11 or newer",
        )
    if facts.software.torch is None:
        yield Finding(
            code="HR-DOCTOR-152",
            severity=Severity.INFO,
            what="torch is not installed here.",
            evidence="no package metadata of torch in this Python environment",
            remedy="pip install 'headrace[train]' where ranks train; scheduling does not need it",
        )


def _limits(facts: Facts) -> Iterator[Finding]:
    limits = facts.node.limits
    if limits.open_files is not None and limits.open_files < _OPEN_FILES_MIN:
        yield Finding(
            code="HR-DOCTOR-154",
            severity=Severity.WARNING,
            what=f"You may open only {limits.open_files} files.",
            evidence="Max open files in /proc/self/limits (ulimit -n)",
            remedy=f"ulimit -n {_OPEN_FILES_MIN * 16}: sharded data and many ranks need more",
        )
    counts = (limits.processes, limits.pids_max)
    pids = min((count for count in counts if count is not None), default=None)
    if pids is not None and pids < _PIDS_MIN:
        yield Finding(
            code="HR-DOCTOR-155",
            severity=Severity.WARNING,
            what=f"You may have only {pids} processes and threads.",
            evidence="pids.max of your cgroup, kernel.pid_max, or ulimit -u",
            remedy="threads count: ask for a higher limit, or start fewer ranks and data workers",
        )
