"""Chaos: every system call that can fail does, disks fill up, writers are killed."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from headrace import checkpoint
from headrace.checkpoint.retention import Keep
from headrace.checkpoint.saver import Failed, Saved, Saver


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


class FailNth:
    """Lets the nth of all watched calls fail, once."""

    def __init__(self, nth: int) -> None:
        self.left = nth
        self.failed = ""

    def watch(self, name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **more: object) -> object:
            self.left -= 1
            if self.left == 0:
                self.failed = name
                raise OSError(5, "Input/output error")
            return real(*args, **more)

        return call


WATCHED = ("open", "write", "pwrite", "fsync", "rename", "replace", "mkdir", "preadv")


def test_each_system_call_of_a_save_may_fail_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, outcomes, nth = set(), set(), 0
    passed = False
    while not passed:
        nth += 1
        root = tmp_path / str(nth)
        saver = Saver(root, keep=Keep(1))
        saver.stage(snapshot(1))
        saver.wait()
        faults = FailNth(nth)
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
from headrace.checkpoint import restore, saver

def write(root):
    found = checkpoint.load_newest(root)
    step = found.step if found else 0
    first = step + 1
    saver = checkpoint.Saver(root, keep=checkpoint.Keep(2))
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


def test_a_writer_killed_at_any_moment_leaves_a_whole_checkpoint(
    tmp_path: Path, writers: subprocess.Popen[str]
) -> None:
    assert writers.stdin is not None
    assert writers.stdout is not None
    chance = random.Random(23)
    newest = 0
    for _ in range(20):
        print(tmp_path, file=writers.stdin, flush=True)
        pid = int(writers.stdout.readline())
        time.sleep(chance.uniform(0.0, 0.06))
        os.kill(pid, signal.SIGKILL)
        assert writers.stdout.readline() == "dead\n"
        before, newest = newest, check_newest(tmp_path)
        assert newest > before
    Saver(tmp_path, keep=Keep(2)).close()
    assert not list(tmp_path.glob(".step-*"))
