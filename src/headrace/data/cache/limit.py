"""How much room copies may take, and where: node-local disk or memory, by the environment.

* ``nvme``: ``HEADRACE_CACHE``, else ``SLURM_TMPDIR``, else ``TMPDIR``, else /tmp
* ``memory``: ``HEADRACE_CACHE_MEMORY``, else /dev/shm
* ``HEADRACE_CACHE_LIMIT``: bytes (``200G``) or a share of what is free (``50%``)

A reserve always stays free, so that a cache never fills the disk that a program writes to. Copies
in memory count as memory of the job where a control group limits it: they take half at most.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from headrace.cluster.nodes.cgroup import read_limits
from headrace.core.units import parse_bytes
from headrace.data.cache.errors import LimitUnclear

TIERS = ("nvme", "memory")
VARIABLES = ("HEADRACE_CACHE", "HEADRACE_CACHE_MEMORY", "HEADRACE_CACHE_LIMIT")
_SHARE = 0.9
_RESERVE = 0.05


class Space(NamedTuple):
    """Of a file system, in bytes. ``memory_bytes``: what programs can have; None: no matter."""

    size_bytes: int
    free_bytes: int
    memory_bytes: int | None = None


def place(tier: str, environ: Mapping[str, str]) -> Path:
    """The folder under which copies of a tier are kept."""
    if tier == "memory":
        return _full(environ.get("HEADRACE_CACHE_MEMORY") or "/dev/shm")
    names = ("HEADRACE_CACHE", "SLURM_TMPDIR", "TMPDIR")
    return _full(next((environ[name] for name in names if environ.get(name)), "/tmp"))


def _full(text: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(text)))


def measure(folder: Path, tier: str) -> Space:
    """Raise ``OSError`` when there is no such folder."""
    found = os.statvfs(folder)
    return Space(
        size_bytes=found.f_blocks * found.f_frsize,
        free_bytes=found.f_bavail * found.f_frsize,
        memory_bytes=_memory_bytes() if tier == "memory" else None,
    )


def limit_bytes(space: Space, held_bytes: int, asked: str | None) -> int:
    """What all copies together may take, of which ``held_bytes`` are there. Pure.

    Raise ``LimitUnclear``.
    """
    reserve_bytes = int(space.size_bytes * _RESERVE)
    within = [held_bytes + space.free_bytes - reserve_bytes]
    if space.memory_bytes is not None:
        within.append((held_bytes + space.memory_bytes) // 2)
    within.append(_asked_bytes(asked, held_bytes + space.free_bytes))
    return max(0, min(within))


def _asked_bytes(text: str | None, free_bytes: int) -> int:
    if not text:
        return int(free_bytes * _SHARE)
    if text.endswith("%"):
        word = text[:-1].strip()
        if not word.isdecimal() or not 0 <= int(word) <= 100:
            raise LimitUnclear(text, "a share is a whole number from 0% to 100%")
        return free_bytes * int(word) // 100
    if text.strip().isdecimal():
        raise LimitUnclear(text, "a size has a unit, as in 200G, or 1000000B for bytes")
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise LimitUnclear(text, str(error)) from error


def _memory_bytes() -> int:
    """Available on this node, or under our control group's limit if that is less."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    limit = read_limits(Path("/")).memory_bytes
    return kib * 1024 if limit is None else min(kib * 1024, limit)
