"""What keeps a daemon alone: its locks and its socket."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

from headrace.control.daemon import listen, take_lock


def test_a_lock_has_one_holder_and_says_who(tmp_path: Path) -> None:
    path = tmp_path / "daemon.lock"
    held = take_lock(path, "pid 1, socket /a")
    assert held is not None
    assert take_lock(path, "pid 2") is None
    assert path.read_text() == "pid 1, socket /a"
    os.close(held)
    again = take_lock(path, "pid 2")
    assert again is not None
    assert path.read_text() == "pid 2"
    os.close(again)


def test_a_lock_is_free_when_its_holder_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "daemon.lock"
    text = (
        "import sys, time; from pathlib import Path\n"
        "from headrace.control.daemon import take_lock\n"
        "take_lock(Path(sys.argv[1]), 'child'); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", text, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        assert take_lock(path, "us") is None
        child.kill()
    held = take_lock(path, "us")
    assert held is not None
    os.close(held)


def test_a_socket_takes_the_place_of_one_that_a_dead_daemon_left(tmp_path: Path) -> None:
    path = tmp_path / "daemon.sock"
    listen(path).close()
    with listen(path), socket.socket(socket.AF_UNIX) as caller:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        caller.connect(str(path))


def test_the_umask_is_as_before(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        listen(tmp_path / "daemon.sock").close()
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
