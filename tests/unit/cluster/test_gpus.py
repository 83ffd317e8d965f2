"""GPUs by way of a stand-in for NVML; the real one needs a GPU."""

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import pytest

from headrace.cluster.nodes.gpu_use import GpuUse, GpuUser, read_gpu_use
from headrace.cluster.nodes.gpus import GpuMeter, Gpus, read_gpus, read_numa_of_pci


class FakeNvml(ModuleType):
    """Two GPUs; the second supports neither MIG nor an energy counter."""

    NVML_DEVICE_MIG_ENABLE = 1
    energy_mj: ClassVar[int] = 1000

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.opened = 0

    def nvmlInit(self) -> None:
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return 12040

    def nvmlSystemGetDriverVersion(self) -> str:
        return "550.54.15"

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        return self.nvmlDeviceGetHandleByIndex(int(uuid[-1]))

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=os.getpid()), SimpleNamespace(pid=1 << 30)]

    def nvmlDeviceGetPciInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(busId=f"00000000:0{handle}:00.0")

    def nvmlDeviceGetPowerManagementLimit(self, handle: int) -> int:
        return 700_000

    def nvmlDeviceGetMigMode(self, handle: int) -> list[int]:
        if handle == 1:
            raise self.NVMLError
        return [1, 1]

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "NVIDIA H100 80GB HBM3"

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(total=80 << 30, used=1 << 30)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        if handle == 1:
            raise self.NVMLError
        return self.energy_mj

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(gpu=83)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return 512_000


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    numa = tmp_path / "sys/bus/pci/devices/0000:01:00.0/numa_node"
    numa.parent.mkdir(parents=True)
    numa.write_text("1\n")
    return tmp_path


def test_gpus_are_described_and_what_one_does_not_support_is_left_out(
    nvml: FakeNvml, root: Path
) -> None:
    found = read_gpus(root)
    assert (found.driver, found.cuda_driver) == ("550.54.15", "12.4")
    first, second = found.gpus
    assert (first.mig, first.energy_counter, first.numa_node) == (True, True, None)
    assert (second.mig, second.energy_counter, second.numa_node) == (False, False, 1)
    assert (second.power_limit_w, second.memory_bytes) == (700.0, 80 << 30)
    assert nvml.opened == 0


def test_a_machine_without_a_driver_has_no_gpus_and_nvml_is_not_even_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert read_gpus(tmp_path) == Gpus()


def test_a_driver_that_does_not_answer_is_no_gpu(
    nvml: FakeNvml, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise nvml.NVMLError

    monkeypatch.setattr(nvml, "nvmlInit", fail)
    assert read_gpus(root) == Gpus()


def test_a_numa_node_that_the_firmware_does_not_know_is_none(tmp_path: Path) -> None:
    path = tmp_path / "sys/bus/pci/devices/0000:1b:00.0/numa_node"
    path.parent.mkdir(parents=True)
    path.write_text("-1\n")
    assert read_numa_of_pci(tmp_path, "00000000:1b:00.0") is None
    assert read_numa_of_pci(tmp_path, "00000000:ff:00.0") is None


def test_the_meter_reads_use_and_power_and_counts_energy_from_its_start(nvml: FakeNvml) -> None:
    meter = GpuMeter((0,))
    assert meter.counts_energy
    nvml.energy_mj += 2500  # type: ignore[misc]
    assert meter.step_j() == 2.5
    assert meter.step_j() == 0.0
    nvml.energy_mj = 300  # type: ignore[misc]
    assert meter.step_j() == 0.3
    (sample,) = meter.samples()
    assert (sample.utilization_ratio, sample.memory_bytes, sample.power_w) == (0.83, 1 << 30, 512.0)
    meter.close()
    assert nvml.opened == 0


def test_energy_is_not_counted_where_one_gpu_has_no_counter(nvml: FakeNvml) -> None:
    assert not GpuMeter((0, 1)).counts_energy
    assert not GpuMeter(()).counts_energy


def test_what_is_taken_of_a_gpu_is_told_with_its_processes(nvml: FakeNvml, root: Path) -> None:
    me = root / f"proc/{os.getpid()}"
    me.mkdir(parents=True)
    (me / "comm").write_text("python\n")
    by_number, by_uuid = read_gpu_use(["1", "GPU-1"], root)
    assert by_uuid == GpuUse(
        name="GPU-1",
        numa_node=by_number.numa_node,
        total_bytes=by_number.total_bytes,
        used_bytes=by_number.used_bytes,
        users=(
            GpuUser(pid=os.getpid(), name="python", ours=True),
            GpuUser(pid=1 << 30, name="?", ours=False),
        ),
    )
    assert by_uuid.numa_node == 1
    assert 0 < by_uuid.used_bytes <= by_uuid.total_bytes
    assert nvml.opened == 0


def test_without_gpus_or_a_driver_nvml_is_not_asked_about_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert read_gpu_use(["0"], tmp_path) == ()
    assert read_gpu_use([]) == ()
