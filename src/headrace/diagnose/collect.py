"""Gather the facts about this machine. Reads only; torch is looked up, never imported."""

import ctypes
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from headrace.cluster import storage
from headrace.cluster.nodes.probe import probe
from headrace.cluster.storage.durability import weakness
from headrace.core.places import runs_folder
from headrace.diagnose.facts import Facts, Folder, Software

_TIME_ERROR = 5
_TIMEX_BYTES = 208
_PSM2_NCCL = "libnccl-net-psm2.so"


def collect(environ: Mapping[str, str]) -> Facts:
    """All facts of this machine, as this user sees them."""
    return Facts(
        node=probe(),
        software=_software(environ),
        folders=(
            read_folder("runs", runs_folder(environ)),
            read_folder("temporary files", Path(tempfile.gettempdir())),
        ),
        clock_synchronised=clock_synchronised(),
        kernel_log=read_kernel_log(),
    )


def read_folder(role: str, path: Path) -> Folder:
    """Facts about the file system of ``path``, which need not exist yet; one that hangs is said to
    hang."""
    found = storage.of(path)
    return Folder(
        role=role,
        path=str(path),
        fstype=found.fstype or "unknown",
        network=found.network,
        size_bytes=found.size_bytes or 0,
        free_bytes=found.free_bytes or 0,
        inodes=found.inodes or 0,
        inodes_free=found.inodes_free or 0,
        answers=found.answers,
        weakness=weakness(found.kind, found.fstype, found.options),
    )


def parse_torch_cuda(version: str, requires: list[str]) -> str | None:
    """ "12.8" from torch's version ("2.11.0+cu128") or from what its wheel requires.

    The wheels of the default index name no CUDA release in their version, but require
    ``nvidia-cuda-runtime-cu12==12.8.90`` (or ``cuda-toolkit[..]==13.0.2``).
    """
    if found := re.search(r"\+cu(\d+)(\d)$", version):
        return f"{found[1]}.{found[2]}"
    if "+" in version:
        return None
    for line in requires:
        found = re.match(r"(?:nvidia-cuda-runtime|cuda-toolkit)\S*\s*\(?==(\d+)\.(\d+)", line)
        if found:
            return f"{found[1]}.{found[2]}"
    return None


def _software(environ: Mapping[str, str]) -> Software:
    python = (sys.version_info.major, sys.version_info.minor)
    psm2 = any(
        Path(folder, _PSM2_NCCL).exists()
        for folder in (*environ.get("LD_LIBRARY_PATH", "").split(":"), "/usr/lib64", "/usr/lib")
        if folder
    )
    try:
        torch = metadata.distribution("torch")
    except metadata.PackageNotFoundError:
        return Software(python=python, psm2_nccl=psm2)
    return Software(
        python=python,
        torch=torch.version,
        torch_cuda=parse_torch_cuda(torch.version, torch.requires or []),
        psm2_nccl=psm2,
    )


def clock_synchronised() -> bool | None:
    """What the kernel says by adjtimex(2); None where it may not be asked."""
    library = ctypes.CDLL(None, use_errno=True)
    state = library.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return None if state < 0 else state != _TIME_ERROR


def read_kernel_log() -> str | None:
    """The kernel's ring buffer from /dev/kmsg; None where this user may not read it."""
    try:
        descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    lines = []
    try:
        while True:
            try:
                lines.append(os.read(descriptor, 8192).decode(errors="replace"))
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue
            except OSError:
                return None
    finally:
        os.close(descriptor)
    return "".join(lines)
