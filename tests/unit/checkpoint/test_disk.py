"""Moving large files: what arrives, in what way, and whose error is raised."""

import errno
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from headrace.checkpoint import disk
from headrace.core.memory import aligned_memory


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "PIECE_BYTES", 2 * disk.BLOCK_BYTES)


def content(size_bytes: int) -> bytes:
    return bytes(number % 251 for number in range(size_bytes))


def in_memory(data: bytes) -> memoryview:
    memory = aligned_memory(len(data))
    memory[: len(data)] = data
    return memoryview(memory)[: len(data)]


SIZES = (0, 1, 4095, 4096, 4097, 3 * 4096, 5 * 4096 + 17)


def read_all(path: Path, size_bytes: int) -> bytes:
    buffer = memoryview(aligned_memory(size_bytes + 10))
    with disk.DiskFile(path, os.O_RDONLY) as file:
        got = sum(
            file.read(buffer[start:stop], start) for start, stop in disk.pieces(size_bytes + 10)
        )
    return bytes(buffer[:got])


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("size_bytes", SIZES)
def test_files_of_any_length_come_back_whole(tmp_path: Path, size_bytes: int) -> None:
    data = content(size_bytes)
    disk.write_new(tmp_path / "f", in_memory(data))
    assert (tmp_path / "f").read_bytes() == data
    assert read_all(tmp_path / "f", size_bytes) == data


@pytest.mark.usefixtures("small_pieces")
def test_memory_that_is_not_aligned_goes_by_way_of_the_cache(tmp_path: Path) -> None:
    data = content(5 * 4096 + 17)
    disk.write_new(tmp_path / "f", in_memory(b"x" + data)[1:])
    assert (tmp_path / "f").read_bytes() == data


@pytest.mark.usefixtures("small_pieces")
def test_a_file_system_without_direct_access_is_written_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(path: str, flags: int, *more: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(path, flags, *more)

    monkeypatch.setattr(os, "open", refuse)
    data = content(5 * 4096 + 17)
    disk.write_new(tmp_path / "f", in_memory(data))
    assert read_all(tmp_path / "f", len(data)) == data


@pytest.mark.usefixtures("small_pieces")
def test_short_writes_and_reads_are_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, read = os.pwrite, os.preadv

    def pwrite(descriptor: int, data: memoryview, start: int) -> int:
        return write(descriptor, data[: max(1, len(data) // 2)], start)

    def preadv(descriptor: int, buffers: list[memoryview], start: int) -> int:
        return read(descriptor, [buffers[0][: max(1, len(buffers[0]) // 2)]], start)

    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(os, "preadv", preadv)
    data = content(5 * 4096 + 17)
    disk.write_new(tmp_path / "f", in_memory(data))
    assert (tmp_path / "f").read_bytes() == data
    assert read_all(tmp_path / "f", len(data)) == data


def test_a_file_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        disk.write_new(tmp_path / "f", in_memory(b"new"))
    assert (tmp_path / "f").read_bytes() == b"old"


def test_the_first_error_of_parallel_jobs_is_raised_when_none_runs_any_more() -> None:
    ended = threading.Event()
    failed = threading.Event()

    def fail() -> None:
        failed.set()
        raise OSError(errno.EIO, "Input/output error")

    def slow() -> None:
        assert failed.wait(30)
        ended.set()

    jobs: list[Callable[[], None]] = [slow, fail]
    with pytest.raises(OSError, match="Input/output error"):
        disk.in_parallel(jobs)
    assert ended.is_set()


def test_all_jobs_are_done_once() -> None:
    done: list[int] = []
    disk.in_parallel([partial(done.append, number) for number in range(100)])
    assert sorted(done) == list(range(100))
