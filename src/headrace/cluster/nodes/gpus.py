"""GPUs through NVML. A machine without a driver or without the library has none; that is normal."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from headrace.cluster.nodes.node import Gpu
from headrace.core.events import GpuSample
from headrace.core.records import Record

Answer = TypeVar("Answer")

_DRIVER_SIGNS = ("dev/nvidiactl", "proc/driver/nvidia/version", "dev/dxg")


class Gpus(Record, frozen=True, kw_only=True):
    """``driver``: "535.161.08"; ``cuda_driver``: the newest CUDA it serves, "12.2"."""

    driver: str | None = None
    cuda_driver: str | None = None
    gpus: tuple[Gpu, ...] = ()


def has_driver(root: Path) -> bool:
    """Whether asking NVML is worth the import."""
    return any((root / sign).exists() for sign in _DRIVER_SIGNS)


def read_gpus(root: Path) -> Gpus:
    """Ask NVML about every GPU this process may see."""
    if not has_driver(root):
        return Gpus()
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return Gpus()
    try:
        cuda = int(pynvml.nvmlSystemGetCudaDriverVersion_v2())
        return Gpus(
            driver=pynvml.nvmlSystemGetDriverVersion(),
            cuda_driver=f"{cuda // 1000}.{cuda % 1000 // 10}",
            gpus=tuple(_gpu(pynvml, root, index) for index in range(pynvml.nvmlDeviceGetCount())),
        )
    except pynvml.NVMLError:
        return Gpus()
    finally:
        pynvml.nvmlShutdown()


def _gpu(nvml: ModuleType, root: Path, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    bus = str(nvml.nvmlDeviceGetPciInfo(handle).busId).lower()
    power_mw = _asked(nvml, nvml.nvmlDeviceGetPowerManagementLimit, handle)
    mig = _asked(nvml, nvml.nvmlDeviceGetMigMode, handle)
    return Gpu(
        index=index,
        name=nvml.nvmlDeviceGetName(handle),
        uuid=nvml.nvmlDeviceGetUUID(handle),
        memory_bytes=int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
        pci_bus_id=bus,
        numa_node=read_numa_of_pci(root, bus),
        power_limit_w=None if power_mw is None else power_mw / 1000,
        mig=mig is not None and mig[0] == nvml.NVML_DEVICE_MIG_ENABLE,
        energy_counter=_asked(nvml, nvml.nvmlDeviceGetTotalEnergyConsumption, handle) is not None,
    )


def _asked(nvml: ModuleType, question: Callable[[object], Answer], handle: object) -> Answer | None:
    """None where this GPU does not support the question."""
    try:
        return question(handle)
    except nvml.NVMLError:
        return None


def read_numa_of_pci(root: Path, bus_id: str) -> int | None:
    """NVML writes an eight digit PCI domain, sysfs four; -1 in sysfs means not known."""
    domain, _, rest = bus_id.partition(":")
    try:
        text = (root / f"sys/bus/pci/devices/{domain[-4:]}:{rest}/numa_node").read_text()
    except OSError:
        return None
    return int(text) if int(text) >= 0 else None


class GpuMeter:
    """Readings of some GPUs while a run uses them; ``close`` when done."""

    def __init__(self, indices: Sequence[int]) -> None:
        self._nvml: ModuleType | None = None
        self._handles: dict[int, object] = {}
        self._energy_mj: dict[int, int] = {}
        if not indices:
            return
        import pynvml

        try:
            pynvml.nvmlInit()
            self._handles = {i: pynvml.nvmlDeviceGetHandleByIndex(i) for i in indices}
        except pynvml.NVMLError:
            return
        self._nvml = pynvml
        self.step_j()

    @property
    def counts_energy(self) -> bool:
        """Whether every GPU has an energy counter."""
        return bool(self._handles) and len(self._energy_mj) == len(self._handles)

    def step_j(self) -> float:
        """Joules of all GPUs since the last call; a counter that was reset adds what it shows."""
        total_mj = 0
        if (nvml := self._nvml) is None:
            return 0.0
        for index, handle in self._handles.items():
            now_mj = _asked(nvml, nvml.nvmlDeviceGetTotalEnergyConsumption, handle)
            if now_mj is None:
                continue
            before_mj = self._energy_mj.get(index, now_mj)
            total_mj += now_mj - before_mj if now_mj >= before_mj else now_mj
            self._energy_mj[index] = now_mj
        return total_mj / 1000

    def samples(self) -> tuple[GpuSample, ...]:
        """One for each GPU that answers. Utilisation is NVML's: the share of time a kernel ran."""
        if (nvml := self._nvml) is None:
            return ()
        found = []
        for index, handle in self._handles.items():
            rates = _asked(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
            memory = _asked(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
            power_mw = _asked(nvml, nvml.nvmlDeviceGetPowerUsage, handle)
            if rates is None or memory is None:
                continue
            found.append(
                GpuSample(
                    index=index,
                    utilization_ratio=rates.gpu / 100,
                    memory_bytes=int(memory.used),
                    power_w=None if power_mw is None else power_mw / 1000,
                )
            )
        return tuple(found)

    def close(self) -> None:
        if self._nvml is not None:
            self._nvml.nvmlShutdown()
            self._nvml = None
