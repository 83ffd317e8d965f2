"""Storage: room for runs, and file systems that behave. Pure."""

from collections.abc import Iterator

from headrace.diagnose.facts import Facts, Folder
from headrace.diagnose.finding import Finding, Severity

_GIB = 1 << 30
_FREE_MIN_BYTES = 5 * _GIB
_FREE_LOW_BYTES = _GIB // 4
_INODES_MIN_RATIO = 0.02


def check(facts: Facts) -> Iterator[Finding]:
    for mount in facts.node.mounts:
        if not mount.answers:
            yield Finding(
                code="HR-DOCTOR-126",
                severity=Severity.WARNING,
                what=f"{mount.path} does not answer.",
                evidence=f"{mount.source} ({mount.fstype}): no answer in time",
                remedy="ask who runs it; programs that touch it hang until it is back",
            )
    for folder in facts.folders:
        if not folder.answers:
            yield _hangs(folder)
            continue
        yield from _room(folder)
        if folder.role == "runs" and folder.weakness is not None:
            yield Finding(
                code="HR-DOCTOR-124",
                severity=Severity.WARNING,
                what="Runs and checkpoints are not safe where they lie.",
                evidence=f"{folder.path} ({folder.fstype}): {folder.weakness}",
                remedy="set HEADRACE_RUNS to a disk or a parallel file system; "
                "headrace storage PATH says what lies where",
            )
        if folder.role == "runs" and folder.network:
            yield Finding(
                code="HR-DOCTOR-123",
                severity=Severity.INFO,
                what=f"Runs lie on a network file system ({folder.fstype}).",
                evidence=f"{folder.path} is mounted as {folder.fstype}",
                remedy="right on a cluster; on one machine a local disk saves checkpoints faster: "
                "set HEADRACE_RUNS",
            )


def _hangs(folder: Folder) -> Finding:
    return Finding(
        code="HR-DOCTOR-125",
        severity=Severity.ERROR,
        what=f"The file system of the folder for {folder.role} does not answer.",
        evidence=f"{folder.path} ({folder.fstype}): no answer in time",
        remedy="ask who runs it, or set HEADRACE_RUNS (TMPDIR) to another one",
    )


def _room(folder: Folder) -> Iterator[Finding]:
    if folder.free_bytes < _FREE_MIN_BYTES:
        scarce = folder.free_bytes < _FREE_LOW_BYTES
        yield Finding(
            code="HR-DOCTOR-121",
            severity=Severity.ERROR if scarce else Severity.WARNING,
            what=f"The folder for {folder.role} has {folder.free_bytes / _GIB:.1f} GiB left.",
            evidence=f"{folder.path} ({folder.fstype}, {folder.size_bytes / _GIB:.0f} GiB)",
            remedy="remove old runs and checkpoints, or set HEADRACE_RUNS to a larger disk"
            if folder.role == "runs"
            else "remove old files there, or set TMPDIR to a larger disk",
        )
    if folder.inodes and folder.inodes_free < _INODES_MIN_RATIO * folder.inodes:
        yield Finding(
            code="HR-DOCTOR-122",
            severity=Severity.WARNING,
            what=f"The folder for {folder.role} is nearly out of inodes: no new files soon.",
            evidence=f"{folder.inodes_free:,} of {folder.inodes:,} free at {folder.path}",
            remedy="remove folders with many small files; pack data sets into few large files",
        )
