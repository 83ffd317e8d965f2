"""Where copies go, and how much room they may take."""

import os
from pathlib import Path

import pytest

from headrace.data.cache.errors import LimitUnclear
from headrace.data.cache.limit import Space, limit_bytes, measure, place

GIB = 1 << 30


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({"HEADRACE_CACHE": "/a", "SLURM_TMPDIR": "/b", "TMPDIR": "/c"}, "/a"),
        ({"SLURM_TMPDIR": "/b", "TMPDIR": "/c"}, "/b"),
        ({"TMPDIR": "/c"}, "/c"),
        ({"HEADRACE_CACHE": ""}, "/tmp"),
        ({"HEADRACE_CACHE": "~/c"}, os.path.expanduser("~/c")),
        ({"HEADRACE_CACHE": "c"}, os.path.abspath("c")),
    ],
)
def test_the_disk_is_what_the_user_the_batch_system_or_the_system_says(
    environ: dict[str, str], wanted: str
) -> None:
    assert place("nvme", environ) == Path(wanted)
    assert place("memory", environ) == Path("/dev/shm")


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (None, 81 * GIB),
        ("10G", 10 * GIB),
        ("500G", 85 * GIB),
        ("50%", 45 * GIB),
        ("0%", 0),
        ("100%", 85 * GIB),
    ],
)
def test_a_limit_is_of_bytes_or_of_what_is_free_and_leaves_a_reserve(
    asked: str | None, wanted: int
) -> None:
    space = Space(size_bytes=100 * GIB, free_bytes=60 * GIB)
    assert limit_bytes(space, 30 * GIB, asked) == wanted


def test_copies_in_memory_take_half_of_it_at_most() -> None:
    space = Space(size_bytes=100 * GIB, free_bytes=100 * GIB, memory_bytes=20 * GIB)
    assert limit_bytes(space, 0, None) == 10 * GIB
    assert limit_bytes(space, 4 * GIB, None) == 12 * GIB


def test_a_full_disk_leaves_no_room_but_is_no_error() -> None:
    assert limit_bytes(Space(size_bytes=100 * GIB, free_bytes=0), 0, None) == 0


@pytest.mark.parametrize("asked", ["much", "120%", "-1%", "%", "²%", "200000000000"])
def test_a_limit_that_is_none_says_how_one_is_written(asked: str) -> None:
    with pytest.raises(LimitUnclear) as caught:
        limit_bytes(Space(size_bytes=1, free_bytes=1), 0, asked)
    assert str(caught.value).startswith(
        f'error HR-CACHE-003: HEADRACE_CACHE_LIMIT "{asked}" is no limit of space\n  why: '
    )
    assert str(caught.value).endswith(
        "  fix: HEADRACE_CACHE_LIMIT=200G, or HEADRACE_CACHE_LIMIT=50% of what is free"
    )


def test_space_is_measured(tmp_path: Path) -> None:
    found = measure(tmp_path, "memory")
    assert found.size_bytes >= found.free_bytes > 0
    assert found.memory_bytes
    assert measure(tmp_path, "nvme").memory_bytes is None
