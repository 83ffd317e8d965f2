"""The node is looked at as it is; what only some machines have is injected."""

import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from headrace.cluster.nodes.gpu_use import GpuUse
from headrace.launch.probe import look, raise_memlock


@pytest.fixture
def memlock() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    yield before
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (before[1], before[1]))


def test_a_soft_limit_of_locked_memory_is_raised_to_the_hard_one(memlock: tuple[int, int]) -> None:
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, memlock[1]))
    limit = raise_memlock()
    assert resource.getrlimit(resource.RLIMIT_MEMLOCK) == (memlock[1], memlock[1])
    assert limit == (None if memlock[1] == resource.RLIM_INFINITY else memlock[1])


def test_gpus_are_asked_for_by_the_names_that_the_run_was_given(
    tmp_path: Path, memlock: tuple[int, int]
) -> None:
    def read(names: Sequence[str]) -> tuple[GpuUse, ...]:
        return tuple(GpuUse(name=name, total_bytes=8, used_bytes=1) for name in names)

    (tmp_path / "sys/class/infiniband/mlx5_0").mkdir(parents=True)
    facts = look("10.0.0.1", ["GPU-5f3c", "1"], read_gpus=read, root=tmp_path)
    assert [gpu.name for gpu in facts.gpus] == ["GPU-5f3c", "1"]
    assert facts.rdma == ("mlx5_0",)
    assert facts.shm_bytes is None


def test_the_shared_memory_of_this_machine_is_seen(memlock: tuple[int, int]) -> None:
    facts = look("10.0.0.1", [], read_gpus=lambda _: ())
    assert facts.shm_bytes is not None
    assert facts.shm_free_bytes is not None
    assert 0 <= facts.shm_free_bytes <= facts.shm_bytes
