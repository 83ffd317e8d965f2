"""The disk below a file system, from a made-up /sys."""

import os
from pathlib import Path

import pytest

from headrace.cluster.storage.device import device_of
from headrace.cluster.storage.storage import Device


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Two NVMe disks in a RAID, one of them with a partition; a rotating disk."""
    devices = tmp_path / "sys/devices"
    for name, rotational in (("nvme0n1", "0"), ("nvme1n1", "0"), ("sda", "1")):
        (devices / name / "queue").mkdir(parents=True)
        (devices / name / "queue/rotational").write_text(f"{rotational}\n")
    (devices / "nvme0n1/nvme0n1p1").mkdir()
    (devices / "md0/queue").mkdir(parents=True)
    (devices / "md0/slaves").mkdir()
    for slave in ("nvme0n1/nvme0n1p1", "nvme1n1"):
        (devices / "md0/slaves" / Path(slave).name).symlink_to(devices / slave)
    for folder in ("dev/block", "class/block"):
        (tmp_path / "sys" / folder).mkdir(parents=True)
    numbers = {"259:1": "nvme0n1/nvme0n1p1", "8:0": "sda", "9:0": "md0"}
    for number, device in numbers.items():
        (tmp_path / "sys/dev/block" / number).symlink_to(devices / device)
    (tmp_path / "sys/class/block/sda").symlink_to(devices / "sda")
    return tmp_path


def test_a_partition_belongs_to_its_disk(machine: Path) -> None:
    found = device_of(machine, os.makedev(259, 1), "/dev/nvme0n1p1")
    assert found == Device(name="nvme0n1p1", nvme=True, rotating=False)


def test_a_volume_is_what_its_disks_are(machine: Path) -> None:
    found = device_of(machine, os.makedev(9, 0), "/dev/md0")
    assert found == Device(name="md0", nvme=True, rotating=False)


def test_a_file_system_without_a_number_of_its_own_is_found_by_its_source(machine: Path) -> None:
    found = device_of(machine, os.makedev(0, 40), "/dev/sda")
    assert found == Device(name="sda", nvme=False, rotating=True)


def test_memory_and_servers_have_no_disk(machine: Path) -> None:
    assert device_of(machine, os.makedev(0, 41), "tmpfs") is None
