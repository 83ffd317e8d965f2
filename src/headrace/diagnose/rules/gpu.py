"""GPUs: present, healthy, and served by a driver that fits torch. Pure."""

from collections.abc import Iterator

from headrace.diagnose.facts import Facts
from headrace.diagnose.finding import Finding, Severity
from headrace.diagnose.xid import REMEDIES, Action, parse_xids

_DRIVER_FLOOR = {11: 450, 12: 525, 13: 580}  # CUDA's minor version compatibility


def check(facts: Facts) -> Iterator[Finding]:
    if not facts.node.gpus:
        yield Finding(
            code="HR-DOCTOR-141",
            severity=Severity.INFO,
            what="No GPU is visible; runs use the processors.",
            evidence="NVML found none"
            if facts.node.driver
            else "no NVIDIA driver is loaded (no /dev/nvidiactl)",
            remedy="if there should be one: nvidia-smi, or start the container with --gpus all",
        )
    yield from _driver(facts)
    for xid in parse_xids(facts.kernel_log or ""):
        harmless = xid.action in (Action.NOTHING, Action.PROGRAM)
        yield Finding(
            code="HR-DOCTOR-143",
            severity=Severity.INFO if harmless else Severity.ERROR,
            what=f"GPU {xid.pci} reported Xid {xid.code}: {xid.meaning}.",
            evidence=f"{xid.count} time{'s' if xid.count > 1 else ''} in the kernel log: "
            f"{xid.text[:160] or 'no further text'}",
            remedy=REMEDIES[xid.action],
        )


def _driver(facts: Facts) -> Iterator[Finding]:
    node, cuda = facts.node, facts.software.torch_cuda
    if node.driver is None or node.cuda_driver is None or not node.gpus:
        return
    if facts.software.torch and cuda is None:
        yield Finding(
            code="HR-DOCTOR-142",
            severity=Severity.ERROR,
            what="There are GPUs, but this torch is built without CUDA.",
            evidence=f"torch {facts.software.torch}; {node.gpus[0].name}",
            remedy="install a CUDA build of torch whose CUDA release is at most "
            f"{node.cuda_driver} (pytorch.org/get-started)",
        )
        return
    if cuda is None:
        return
    built, served = int(cuda.partition(".")[0]), int(node.cuda_driver.partition(".")[0])
    if built > served:
        yield Finding(
            code="HR-DOCTOR-142",
            severity=Severity.ERROR,
            what=f"torch is built for CUDA {cuda}, the driver serves CUDA {node.cuda_driver}.",
            evidence=f"torch {facts.software.torch}; driver {node.driver}; CUDA {built} needs "
            f"driver {_DRIVER_FLOOR.get(built, 'a newer one')} or newer",
            remedy=f"install a torch built for CUDA {served}.x, or a newer driver",
        )
