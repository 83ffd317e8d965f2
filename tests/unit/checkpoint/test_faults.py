"""Chaos: every system call that can fail does, disks fill up, writers are killed."""

import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from headrace import checkpoint
from headrace.checkpoint import memory
from headrace.checkpoint import saver as saver_module
from headrace.checkpoint.memory import Shared, snapshots
from headrace.checkpoint.retention import Keep
from headrace.checkpoint.saver import Failed, Saved, Saver, Skipped, Staged


def snapshot(step: int, rows: int = 50) -> checkpoint.Snapshot:
    return checkpoint.Snapshot(step, {"w": torch.full((rows, 100), step)}, {"step": step})


def check_newest(root: Path) -> int:
    """Whatever happened, there is a whole checkpoint, and it is what was saved. Its step."""
    found = checkpoint.load_newest(root)
    assert found is not None
    assert found.skipped == ()
    assert found.state == {"step": found.step}
    assert bool((found.tensors["w"] == found.step).all())
    return found.step


def check_memory(place: Path) -> list[int]:
    """The steps that memory has; each is whole, and what was staged."""
    found = []
    for step, _, folder in snapshots(place):
        loaded = checkpoint.load(folder)
        assert loaded.state == {"step": step}
        assert bool((loaded.tensors["w"] == step).all())
        found.append(step)
    return found


@pytest.fixture(autouse=True)
def _small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_SPARE_BYTES", 0)


class FailNth:
    """Lets the nth of all watched calls fail, once."""

    def __init__(self, nth: int, number: int = errno.EIO) -> None:
        self.left = nth
        self.number = number
        self.failed = ""

    def watch(self, name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **more: object) -> object:
            self.left -= 1
            if self.left == 0:
                self.failed = name
                raise OSError(self.number, os.strerror(self.number))
            return real(*args, **more)

        return call


WATCHED = ("open", "write", "pwrite", "fsync", "rename", "replace", "mkdir", "preadv", "unlink")
LATER = [
    pytest.param(number, marks=pytest.mark.slow)
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
]


@pytest.mark.parametrize("number", [errno.EIO, *LATER])
def test_each_system_call_of_a_save_may_fail_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    failed, outcomes, nth = set(), set(), 0
    passed = False
    while not passed:
        nth += 1
        root = tmp_path / str(nth)
        saver = Saver(root, keep=Keep(1), rooms=Shared(root / "memory"))
        (root / "memory").mkdir()
        assert saver.prepare(snapshot(1)) == ""
        saver.stage(snapshot(1))
        saver.wait()
        faults = FailNth(nth, number)
        with monkeypatch.context() as patch:
            for name in WATCHED:
                patch.setattr(os, name, faults.watch(name, getattr(os, name)))
            saver.stage(snapshot(2), must=True)
            saver.wait()
        reports = saver.poll()
        passed = not faults.failed
        failed.add(faults.failed)
        outcomes.add(type(reports[-1]).__name__)
        newest = check_newest(root)
        if isinstance(reports[-1], Saved):
            assert newest == 2
        if passed:
            assert [path.name for path in root.glob("step-*")] == ["step-000000002"]
        saver.stage(snapshot(3), must=True)
        saver.close()
        assert isinstance(saver.poll()[-1], Saved)
        assert check_newest(root) == 3
        assert check_memory(root / "memory")[0] == 3
        assert not list(root.glob(".step-*.tmp-*"))
    assert failed >= {"open", "pwrite", "fsync", "rename", "replace", "mkdir", "preadv"}
    assert outcomes == {"Saved", "Failed"}


def test_each_system_call_may_fail_while_a_step_is_saved_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nth, passed = 0, False
    while not passed:
        nth += 1
        root = tmp_path / str(nth)
        saver = Saver(root, keep=Keep(1))
        faults = FailNth(nth)
        saver.stage(snapshot(1))
        saver.wait()
        with monkeypatch.context() as patch:
            for name in WATCHED:
                patch.setattr(os, name, faults.watch(name, getattr(os, name)))
            saver.stage(snapshot(1), must=True)
            saver.wait()
        saver.close()
        passed = not faults.failed
        assert check_newest(root) == 1


def test_a_full_disk_is_reported_and_the_former_checkpoint_stays(tmp_path: Path) -> None:
    """With a limit on the size of files, which needs no rights: EFBIG instead of ENOSPC."""
    saver = Saver(tmp_path)
    saver.stage(snapshot(1))
    saver.wait()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        saver.stage(snapshot(2), must=True)
        saver.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert saver.poll()[1:] == [Failed(step=2, reason="File too large")]
    assert check_newest(tmp_path) == 1
    assert sorted(os.listdir(tmp_path)) == ["latest", "step-000000001"]
    saver.stage(snapshot(3), must=True)
    saver.close()
    assert check_newest(tmp_path) == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small tmpfs needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_fills_up_is_reported_and_used_again_when_there_is_room(
    small_disk: Path,
) -> None:
    saver = Saver(small_disk, keep=Keep(1))
    saver.stage(snapshot(1, rows=100))
    saver.wait()
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(120_000))
    saver.stage(snapshot(2, rows=100), must=True)
    saver.wait()
    assert saver.poll()[1:] == [Failed(step=2, reason="No space left on device")]
    assert check_newest(small_disk) == 1
    ballast.unlink()
    saver.stage(snapshot(3, rows=100), must=True)
    saver.close()
    (report,) = saver.poll()
    assert isinstance(report, Saved)
    assert check_newest(small_disk) == 3


def test_a_disk_that_becomes_read_only_is_reported_and_used_again_when_it_is_writable(
    small_disk: Path,
) -> None:
    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(small_disk)], check=True)

    saver = Saver(small_disk, keep=Keep(1))
    saver.stage(snapshot(1))
    saver.wait()
    remount("ro")
    saver.stage(snapshot(2), must=True)
    saver.wait()
    (_, failed) = saver.poll()
    assert isinstance(failed, Failed)
    assert failed.reason.startswith("Read-only file system")
    assert check_newest(small_disk) == 1
    remount("rw")
    saver.stage(snapshot(3), must=True)
    saver.close()
    assert check_newest(small_disk) == 3


@pytest.fixture
def freezing_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk on which writes hang in the kernel after ``fsfreeze --freeze``."""
    tools = ("mount", "mkfs.ext4", "fsfreeze")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if os.geteuid() != 0 or missing:
        pytest.skip(f"freezing a file system needs root, and {', '.join(missing) or 'its tools'}")
    place, image = tmp_path / "disk", tmp_path / "image"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    command = ["mount", "-o", "loop", str(image), str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a file cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["fsfreeze", "--unfreeze", str(place)], check=False, capture_output=True)
    subprocess.run(["umount", str(place)], check=True)


def test_a_save_that_hangs_in_the_kernel_blocks_nothing_and_can_be_given_up(
    freezing_disk: Path,
) -> None:
    saver = Saver(freezing_disk / "root")
    saver.stage(snapshot(1))
    saver.wait()
    subprocess.run(["fsfreeze", "--freeze", str(freezing_disk)], check=True)
    assert isinstance(saver.stage(snapshot(2)), Staged)
    assert not saver.wait(0.5)
    assert isinstance(saver.stage(snapshot(3)), Skipped)
    saver.give_up("it hangs")
    assert saver.poll()[1:] == [Failed(step=2, reason="it hangs")]
    assert check_newest(freezing_disk / "root") == 1
    subprocess.run(["fsfreeze", "--unfreeze", str(freezing_disk)], check=True)
    until_s = time.monotonic() + 30
    while any(thread.name == "checkpoint-write" for thread in threading.enumerate()):
        assert time.monotonic() < until_s
        time.sleep(0.01)
    assert check_newest(freezing_disk / "root") == 2


def test_what_cannot_be_deleted_or_moved_keeps_no_other_from_being_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete = saver_module._delete

    def stuck(root: Path, step: int) -> None:
        if step == 1:
            raise PermissionError(errno.EACCES, "Permission denied")
        delete(root, step)

    monkeypatch.setattr(saver_module, "_delete", stuck)
    saver = Saver(tmp_path, keep=Keep(1))
    (tmp_path / "latest").mkdir()
    for step in range(1, 5):
        saver.stage(snapshot(step), must=True)
    saver.close()
    last = saver.poll()[-1]
    assert isinstance(last, Saved)
    stays, latest = last.note.split("; ")
    assert stays == "step-000000001 was not deleted: Permission denied"
    assert latest.startswith("latest was not moved: Is a directory")
    assert [path.name for path in sorted(tmp_path.glob("step-*"))] == [
        "step-000000001",
        "step-000000004",
    ]


def test_a_link_to_a_checkpoint_is_deleted_and_what_it_points_to_stays(tmp_path: Path) -> None:
    elsewhere = Saver(tmp_path / "elsewhere")
    elsewhere.stage(snapshot(1))
    elsewhere.close()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "step-000000001").symlink_to(tmp_path / "elsewhere" / "step-000000001")
    saver = Saver(tmp_path / "root", keep=Keep(1))
    saver.stage(snapshot(2))
    saver.close()
    assert [report.note for report in saver.poll() if isinstance(report, Saved)] == [""]
    assert sorted(os.listdir(tmp_path / "root")) == ["latest", "step-000000002"]
    assert check_newest(tmp_path / "elsewhere") == 1


def test_without_a_thread_to_write_in_the_save_fails_and_the_next_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    saver = Saver(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        assert isinstance(saver.stage(snapshot(1)), Staged)
    saver.stage(snapshot(2), must=True)
    saver.close()
    failed, saved = saver.poll()
    assert failed == Failed(step=1, reason="RuntimeError: can't start new thread")
    assert isinstance(saved, Saved)


def test_a_root_that_vanishes_fails_the_save_and_not_the_training(tmp_path: Path) -> None:
    saver = Saver(tmp_path / "root")
    shutil.rmtree(tmp_path / "root")
    saver.stage(snapshot(1))
    saver.close()
    (report,) = saver.poll()
    assert isinstance(report, Failed)
    assert report.reason.startswith("No such file or directory")


FORKING = """
import os, sys, traceback
from pathlib import Path
import torch
from headrace import checkpoint
from headrace.checkpoint import memory, restore, saver

memory._SPARE_BYTES = 0

def write(root):
    found = checkpoint.load_newest(root)
    step = found.step if found else 0
    first = step + 1
    place = root.with_name("memory")
    staged = next(memory.snapshots(place), None)
    slot = 0 if staged is None else 1 - int(staged[2].name)
    rooms = memory.Shared(place, first=slot, limit_bytes=1 << 20)
    saver = checkpoint.Saver(root, keep=checkpoint.Keep(2), rooms=rooms)
    like = {"w": torch.full((50, 100), 0)}
    assert saver.prepare(checkpoint.Snapshot(0, like, {})) == ""
    while True:
        step += 1
        tensor = torch.full((50, 100), step)
        saver.stage(checkpoint.Snapshot(step, {"w": tensor}, {"step": step}), must=True)
        tensor.fill_(-1)
        if step == first:
            saver.wait()
            print(os.getpid(), flush=True)

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            write(Path(line.strip()))
        finally:
            traceback.print_exc()
            os._exit(1)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""


@pytest.fixture
def writers() -> Iterator[subprocess.Popen[str]]:
    """A process that has imported torch once and forks a writer for each folder it is told."""
    process = subprocess.Popen(
        [sys.executable, "-c", FORKING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.chaos)])
def test_a_writer_killed_at_any_moment_leaves_a_whole_checkpoint(
    tmp_path: Path, writers: subprocess.Popen[str], kills: int
) -> None:
    """On the disk, and in memory one that is as new or newer."""
    assert writers.stdin is not None
    assert writers.stdout is not None
    chance = random.Random(23)
    newest = 0
    root, place = tmp_path / "root", tmp_path / "memory"
    place.mkdir()
    in_memory_only = 0
    for _ in range(kills):
        print(root, file=writers.stdin, flush=True)
        pid = int(writers.stdout.readline())
        time.sleep(chance.uniform(0.0, 0.06))
        os.kill(pid, signal.SIGKILL)
        assert writers.stdout.readline() == "dead\n"
        before, newest = newest, check_newest(root)
        assert newest > before
        staged = check_memory(place)
        assert staged
        assert staged[0] >= newest
        in_memory_only += staged[0] > newest
    assert in_memory_only
    Saver(root, keep=Keep(2)).close()
    assert not list(root.glob(".step-*"))
