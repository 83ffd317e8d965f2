"""What a batch system lets an agent use of its node, found out on that node.

Slurm binds a step to its CPUs and names its GPUs in variables (srun(1), gres.conf(5)). The names
are kept as they are: they may count from 0 within the job, or be UUIDs.
"""

import os
from collections.abc import Mapping

from headrace.core.records import Record

_PASSED_ON = (
    *("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"),
    *("ZE_AFFINITY_MASK", "TMPDIR"),
)


class Found(Record, frozen=True, kw_only=True):
    """``gpus``: their numbers, or 0 to n-1 for n that have other names, ``gpu_names``."""

    cpus: tuple[int, ...]
    gpus: tuple[int, ...]
    gpu_names: tuple[str, ...]
    environment: dict[str, str]


def find(environ: Mapping[str, str]) -> Found:
    """Of this process."""
    visible = environ.get("CUDA_VISIBLE_DEVICES", "")
    passed_on = {name: environ[name] for name in _PASSED_ON if name in environ}
    return Found(
        cpus=tuple(sorted(os.sched_getaffinity(0))),
        gpus=numbers(visible),
        gpu_names=tuple(name for name in visible.split(",") if name),
        environment=passed_on,
    )


def numbers(visible: str) -> tuple[int, ...]:
    """ "0,2" is (0, 2); "GPU-5f3c,GPU-81aa" is (0, 1)."""
    names = [name for name in visible.split(",") if name]
    if all(name.isdigit() for name in names):
        return tuple(int(name) for name in names)
    return tuple(range(len(names)))
