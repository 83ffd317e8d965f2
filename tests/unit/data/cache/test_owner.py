"""One owner at a time, whatever becomes of those before it."""

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from headrace.core.process import Process, boot_id
from headrace.data.cache import owner
from headrace.data.cache.owner import Holder, current, lives, owned, this_process

OWN = """
import sys, time
from pathlib import Path
from headrace.data.cache.owner import owned, this_process
folder, log, hold_s = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
with owned(folder, this_process(sys.argv[4])):
    with open(log, "a") as file:
        file.write("in\\n"); file.flush(); time.sleep(hold_s); file.write("out\\n")
"""


def owning(folder: Path, log: Path, hold_s: float, name: str = "r") -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", OWN, str(folder), str(log), str(hold_s), name]
    return subprocess.Popen(argv)


def until(holds: object, timeout_s: float = 20.0) -> None:
    assert callable(holds)
    end_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_owners_follow_one_another_and_never_overlap(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "c").mkdir()
    for process in [owning(tmp_path / "c", log, 0.05) for _ in range(4)]:
        assert process.wait(60) == 0
    assert log.read_text().split() == ["in", "out"] * 4
    assert len(list((tmp_path / "c").glob("claim-*"))) == 1


def test_an_owner_that_is_killed_is_followed_by_the_one_that_waits(tmp_path: Path) -> None:
    log, folder = tmp_path / "log", tmp_path / "c"
    folder.mkdir()
    first = owning(folder, log, 600, "first-1")
    until(log.exists)
    holder = current(folder)
    assert holder is not None
    assert holder.run_id == "first-1"
    waited_for = []

    def waiting(other: Holder) -> None:
        waited_for.append(other.run_id)
        first.kill()
        first.wait()

    with owned(folder, this_process("second-2"), waiting=waiting):
        now = current(folder)
        assert now is not None
        assert now.run_id == "second-2"
    assert waited_for == ["first-1"]
    assert current(folder) is None


def test_threads_of_one_process_may_not_own_at_once_either(tmp_path: Path) -> None:
    inside, most = [0], [0]

    def work() -> None:
        with owned(tmp_path, this_process("r")):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.02)
            inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == [1]


def test_a_claim_made_too_late_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow one saw no claim; five others came and went before it made the first."""
    (tmp_path / "claim-5").touch()
    seen = iter([None])
    highest = owner._highest
    monkeypatch.setattr(owner, "_highest", lambda folder: next(seen, highest(folder)))
    with owned(tmp_path, this_process("r")):
        assert [path.name for path in tmp_path.glob("claim-*")] == ["claim-6"]


@pytest.mark.parametrize("text", ["", "{", '{"holder":null}', '{"holder": {"process": 1}}'])
def test_a_claim_that_cannot_be_read_is_nobodys(tmp_path: Path, text: str) -> None:
    (tmp_path / "claim-3").write_text(text)
    with owned(tmp_path, this_process("r")):
        assert current(tmp_path) is not None


def full_disk(path: Path, data: bytes) -> int:
    path.touch()
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_claim_is_given_back_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with owned(tmp_path, this_process("r")):
        monkeypatch.setattr(Path, "write_bytes", full_disk)
    assert current(tmp_path) is None


def test_a_claim_that_a_full_disk_does_not_take_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space"), owned(tmp_path, this_process("r")):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("where", ["namespace", "host"])
def test_a_holder_that_cannot_be_seen_lives_as_long_as_its_file_is_fresh(
    tmp_path: Path, where: str
) -> None:
    gone = Process(boot_id=boot_id() if where == "namespace" else "other", pid=1, start_ticks=0)
    here = this_process("r").pid_namespace
    namespace = "pid:[1]" if where == "namespace" else here
    other = Holder(process=gone, pid_namespace=namespace, run_id="r")
    file = tmp_path / "claim-0"
    file.touch()
    assert lives(other, file)
    old_s = time.time() - 2 * owner.FRESH_S
    os.utime(file, (old_s, old_s))
    assert not lives(other, file)
    assert not lives(other, tmp_path / "none")
