"""What the processes of one run use of a machine, about once a second, read from /proc.

Cheap enough for a 2-core machine: all of /proc is searched for descendants at most every
``RESCAN_S``; in between only known processes are read. CPU time is never lost by that, since a
child's time goes to the parent that waits for it; a process that lives less than ``RESCAN_S`` and
is waited for by nobody in the tree is not seen. Formats: proc(5).
"""

import os
from collections.abc import Sequence
from pathlib import Path

from headrace.cluster.nodes.gpus import GpuMeter
from headrace.cluster.nodes.rapl import Rapl
from headrace.core.events import NodeSample
from headrace.core.records import Record

RESCAN_S = 5.0
_PSS_RSS_MAX_BYTES = 1 << 30  # the kernel walks every page for PSS: about 7 ms a GiB
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ProcessTimes(Record, frozen=True, kw_only=True):
    """From one /proc/PID/stat. ``ticks`` include those of children that were waited for."""

    parent: int
    start_ticks: int
    ticks: int


def parse_stat(data: bytes) -> ProcessTimes:
    """The command name may hold spaces and brackets: fields are counted from the last bracket."""
    fields = data[data.rfind(b")") + 2 :].split()
    return ProcessTimes(
        parent=int(fields[1]),
        start_ticks=int(fields[19]),
        ticks=sum(int(field) for field in fields[11:15]),
    )


def parse_busy_ticks(stat: str) -> int:
    """Ticks all CPUs were not idle, from /proc/stat: all of user ... steal but idle and iowait."""
    fields = [int(field) for field in stat.partition("\n")[0].split()[1:9]]
    return sum(fields) - sum(fields[3:5])


def parse_pss_bytes(rollup: bytes) -> int | None:
    """The Pss line of /proc/PID/smaps_rollup."""
    for line in rollup.splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return None


class Sampler:
    """Readings of a process tree. ``cpus``: how many were allocated; ``gpus``: NVML indices.

    Processor energy is shared out by CPU time: the tree's part of the machine's busy time since
    the last sample, times what RAPL counted.
    """

    def __init__(self, *, cpus: int, gpus: tuple[int, ...], proc: Path = Path("/proc")) -> None:
        self._cpus = cpus
        self._proc = proc
        self._seen: dict[int, ProcessTimes] = {}
        self._gone_ticks = 0
        self._cpu_s = 0.0
        self._last_s: float | None = None
        self._scanned_s = float("-inf")
        self._shared_bytes: int | None = None
        self._busy_ticks = self._read_busy_ticks()
        self._gpus = GpuMeter(gpus)
        self._rapl = Rapl(proc.parent)
        self._parts = (
            *(("gpu",) if self._gpus.counts_energy else ()),
            *(("cpu",) if self._rapl.is_readable else ()),
        )
        self._energy_j = 0.0

    def sample(self, pids: Sequence[int], *, now_s: float) -> NodeSample:
        """One reading of the trees below and with ``pids``; those that are gone count no more.

        ``cpu_ratio`` is that of the time since the last sample, 0 at the first.
        """
        living = self._living(pids, now_s)
        self._account_for_gone(living)
        ticks = self._gone_ticks + sum(times.ticks for times in living.values())
        cpu_s = max(self._cpu_s, ticks / _TICKS_PER_S)
        elapsed_s = 0.0 if self._last_s is None else now_s - self._last_s
        used_s = cpu_s - self._cpu_s
        ratio = used_s / (elapsed_s * self._cpus) if elapsed_s > 0 and self._cpus else 0.0
        self._add_energy(used_s)
        self._seen, self._cpu_s, self._last_s = living, cpu_s, now_s
        memory_bytes, kind = self._memory(living, scanned=self._scanned_s == now_s)
        return NodeSample(
            time_s=now_s,
            cpu_ratio=ratio,
            cpu_s=cpu_s,
            memory_bytes=memory_bytes,
            gpus=self._gpus.samples(),
            energy_j=self._energy_j if self._parts else None,
            energy_parts=self._parts,
            memory_kind=kind,
        )

    def close(self) -> None:
        self._gpus.close()

    def _living(self, pids: Sequence[int], now_s: float) -> dict[int, ProcessTimes]:
        if now_s - self._scanned_s < RESCAN_S and all(pid in self._seen for pid in pids):
            reads = ((pid, self._read_stat(pid)) for pid in self._seen)
            return {
                pid: times
                for pid, times in reads
                if times is not None and times.start_ticks == self._seen[pid].start_ticks
            }
        self._scanned_s = now_s
        everything = {
            int(name): times
            for name in os.listdir(self._proc)
            if name.isdigit() and (times := self._read_stat(int(name))) is not None
        }
        return _trees(pids, everything)

    def _account_for_gone(self, living: dict[int, ProcessTimes]) -> None:
        """Keep the time of processes that left while no parent in the tree takes it over."""
        for pid, times in self._seen.items():
            now = living.get(pid)
            left = now is None or now.start_ticks != times.start_ticks
            if left and times.parent not in living:
                self._gone_ticks += times.ticks

    def _memory(self, living: dict[int, ProcessTimes], *, scanned: bool) -> tuple[int, str]:
        """PSS where every process is small enough to ask for it, else RSS of all.

        PSS is asked for at scans only; in between, what RSS counts too much is taken as constant.
        """
        rss = {pid: self._rss_bytes(pid) for pid in living}
        total_bytes = sum(rss.values())
        if scanned:
            self._shared_bytes = self._counted_twice(rss)
        if self._shared_bytes is None:
            return total_bytes, "rss"
        return max(0, total_bytes - self._shared_bytes), "pss"

    def _counted_twice(self, rss: dict[int, int]) -> int | None:
        """Sum of RSS less sum of PSS; None where that is not known."""
        if max(rss.values(), default=0) > _PSS_RSS_MAX_BYTES:
            return None
        pss = [self._pss_bytes(pid) for pid in rss if rss[pid]]
        known = [part for part in pss if part is not None]
        return sum(rss.values()) - sum(known) if len(known) == len(pss) else None

    def _add_energy(self, used_s: float) -> None:
        busy_ticks = self._read_busy_ticks()
        busy_s = (busy_ticks - self._busy_ticks) / _TICKS_PER_S
        self._busy_ticks = busy_ticks
        if "gpu" in self._parts:
            self._energy_j += self._gpus.step_j()
        if "cpu" in self._parts and self._last_s is not None:
            self._energy_j += self._rapl.step_j() * min(1.0, used_s / busy_s if busy_s > 0 else 0.0)

    def _read_stat(self, pid: int) -> ProcessTimes | None:
        data = self._read(f"{pid}/stat")
        return parse_stat(data) if data else None

    def _rss_bytes(self, pid: int) -> int:
        data = self._read(f"{pid}/statm")
        return int(data.split()[1]) * _PAGE_BYTES if data else 0

    def _pss_bytes(self, pid: int) -> int | None:
        """None where the kernel refuses, or the process is just gone."""
        data = self._read(f"{pid}/smaps_rollup")
        return parse_pss_bytes(data) if data else None

    def _read_busy_ticks(self) -> int:
        return parse_busy_ticks(self._read("stat").decode() or "cpu 0 0 0 0 0 0 0 0")

    def _read(self, name: str) -> bytes:
        try:
            with open(f"{self._proc}/{name}", "rb", buffering=0) as file:
                return file.read()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return b""


def _trees(roots: Sequence[int], everything: dict[int, ProcessTimes]) -> dict[int, ProcessTimes]:
    """Those of ``roots`` that exist, and all below them."""
    children: dict[int, list[int]] = {}
    for pid, times in everything.items():
        children.setdefault(times.parent, []).append(pid)
    found: dict[int, ProcessTimes] = {}
    waiting = [pid for pid in roots if pid in everything]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found[pid] = everything[pid]
            waiting.extend(children.get(pid, ()))
    return found
