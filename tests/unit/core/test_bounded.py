"""A command is never waited for longer than asked."""

import os
import time

import pytest

from headrace.core.bounded import bounded


def test_what_ends_in_time_is_whole() -> None:
    ended = bounded(["sh", "-c", "echo out; echo err >&2; exit 3"], 30.0, os.environ)
    assert ended == (b"out\n", b"err\n", 3)


def test_of_what_does_not_end_what_came_is_kept_and_all_it_started_is_killed() -> None:
    begun_s = time.monotonic()
    script = "echo begun; sleep 987654 & echo $!; wait"
    ended = bounded(["sh", "-c", script], 2.0, os.environ)
    assert time.monotonic() - begun_s < 20
    assert ended.status is None
    said, pid = ended.output.split()
    assert said == b"begun"
    until_s = time.monotonic() + 20
    while os.path.exists(f"/proc/{int(pid)}/cmdline") and _sleeps(int(pid)):
        assert time.monotonic() < until_s
        time.sleep(0.05)


def _sleeps(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"987654" in file.read()
    except OSError:
        return False


def test_what_cannot_be_started_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        bounded(["headrace-no-such-program"], 1.0, os.environ)
