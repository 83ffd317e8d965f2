"""Memory: limits that end a run early or make it slow. Pure."""

from collections.abc import Iterator

from headrace.diagnose.facts import Facts
from headrace.diagnose.finding import Finding, Severity

_GIB = 1 << 30
_SHM_MIN_BYTES = _GIB
_SWAP_MIN_BYTES = _GIB // 4
_RDMA_KINDS = ("infiniband", "roce", "omnipath", "efa")


def check(facts: Facts) -> Iterator[Finding]:
    yield from _limits(facts)
    yield from _locked(facts)


def _limits(facts: Facts) -> Iterator[Finding]:
    node = facts.node
    limit = node.memory_limit_bytes
    if limit is not None and limit < node.memory_total_bytes:
        yield Finding(
            code="HR-DOCTOR-111",
            severity=Severity.INFO,
            what=f"A cgroup limits your memory to {limit / _GIB:.1f} GiB of the machine's "
            f"{node.memory_total_bytes / _GIB:.1f}.",
            evidence="memory.max (version 2) or memory.limit_in_bytes (version 1) of your cgroup",
            remedy="a run that needs more is killed; ask for more memory where the limit is set",
        )
    if node.shm_bytes is not None and node.shm_bytes < _SHM_MIN_BYTES:
        yield Finding(
            code="HR-DOCTOR-112",
            severity=Severity.WARNING,
            what=f"/dev/shm holds only {node.shm_bytes / (1 << 20):.0f} MiB.",
            evidence="size of its tmpfs; NCCL, gloo and data loaders share memory there",
            remedy="start the container with --shm-size=8g or --ipc=host",
        )
    if node.swap_used_bytes > _SWAP_MIN_BYTES:
        yield Finding(
            code="HR-DOCTOR-113",
            severity=Severity.WARNING,
            what=f"{node.swap_used_bytes / _GIB:.1f} GiB of memory are swapped out.",
            evidence="SwapTotal - SwapFree in /proc/meminfo",
            remedy="steps slow down when their pages are on disk: end what uses the memory",
        )


def _locked(facts: Facts) -> Iterator[Finding]:
    locked = facts.node.limits.memlock_bytes
    if locked is None or locked >= facts.node.memory_total_bytes // 2:
        return
    rdma = [port.device for port in facts.node.rdma if port.kind in _RDMA_KINDS]
    yield Finding(
        code="HR-DOCTOR-114",
        severity=Severity.ERROR if rdma else Severity.INFO,
        what=f"You may lock only {locked / (1 << 20):.0f} MiB of memory"
        + (f", and {rdma[0]} needs locked memory." if rdma else "."),
        evidence="Max locked memory in /proc/self/limits (ulimit -l)",
        remedy="set memlock to unlimited in /etc/security/limits.conf, and for Slurm "
        "LimitMEMLOCK=infinity in slurmd.service"
        + ("" if rdma else "; it matters where there is InfiniBand, RoCE or Omni-Path"),
    )
