"""The disk below a local file system, as sysfs tells it: NVMe, rotating, or neither known."""

import os
from pathlib import Path

from headrace.cluster.storage.storage import Device

_SLAVES_MAX = 8


def device_of(root: Path, number: int, source: str) -> Device | None:
    """The disk of a file system on device ``number`` (st_dev), mounted from ``source``.

    Volumes (LVM, RAID, encryption) are followed down to their disks: NVMe when all are, rotating
    when one is. None for file systems without a disk. ``root`` is where /sys is looked for.
    """
    block = root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
    if not block.exists() and source.startswith("/dev/"):
        block = root / "sys/class/block" / Path(os.path.realpath(root / source.lstrip("/"))).name
    if not block.exists():
        return None
    disks = _disks(block.resolve())
    spins = [rotating for disk in disks if (rotating := _rotating(disk)) is not None]
    return Device(
        name=block.resolve().name,
        nvme=all(disk.name.startswith("nvme") for disk in disks),
        rotating=any(spins) if spins else None,
    )


def _disks(block: Path, depth: int = 0) -> list[Path]:
    """Whole disks below a partition or volume."""
    slaves = block / "slaves"
    below = sorted(slaves.iterdir()) if slaves.is_dir() and depth < _SLAVES_MAX else []
    if below:
        return [disk for slave in below for disk in _disks(slave.resolve(), depth + 1)]
    return [block if (block / "queue").is_dir() else block.parent]


def _rotating(disk: Path) -> bool | None:
    try:
        told = (disk / "queue/rotational").read_text().strip()
    except OSError:
        return None
    return {"0": False, "1": True}.get(told)
