"""Who uses a GPU now, through NVML: its memory and the processes on it, whoever started them."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from headrace.cluster.nodes.gpus import has_driver, read_numa_of_pci
from headrace.core.records import Record


class GpuUser(Record, frozen=True, kw_only=True):
    """A process on a GPU. ``ours``: of the user who asks. ``name``: "?" in another namespace."""

    pid: int
    name: str
    ours: bool


class GpuUse(Record, frozen=True, kw_only=True):
    """``name``: as in CUDA_VISIBLE_DEVICES. ``numa_node``: None where the firmware does not say."""

    name: str
    numa_node: int | None = None
    total_bytes: int
    used_bytes: int
    users: tuple[GpuUser, ...] = ()


def read_gpu_use(names: Sequence[str], root: Path = Path("/")) -> tuple[GpuUse, ...]:
    """Of GPUs by their number or UUID; those that NVML does not show are left out."""
    if not names or not has_driver(root):
        return ()
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    found = []
    try:
        for name in names:
            with contextlib.suppress(pynvml.NVMLError):
                found.append(_use(pynvml, name, root))
    finally:
        pynvml.nvmlShutdown()
    return tuple(found)


def _use(nvml: ModuleType, name: str, root: Path) -> GpuUse:
    handle = (
        nvml.nvmlDeviceGetHandleByIndex(int(name))
        if name.isdigit()
        else nvml.nvmlDeviceGetHandleByUUID(name)
    )
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    pids = [process.pid for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle)]
    return GpuUse(
        name=name,
        numa_node=read_numa_of_pci(root, str(nvml.nvmlDeviceGetPciInfo(handle).busId).lower()),
        total_bytes=int(memory.total),
        used_bytes=int(memory.used),
        users=tuple(gpu_user(pid, root) for pid in pids),
    )


def gpu_user(pid: int, root: Path) -> GpuUser:
    folder = root / "proc" / str(pid)
    try:
        name, owner = (folder / "comm").read_text().strip(), folder.stat().st_uid
    except OSError:
        return GpuUser(pid=pid, name="?", ours=False)
    return GpuUser(pid=pid, name=name, ours=owner == os.getuid())
