import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from headrace.core import process
from headrace.core.process import CommandFailed
from headrace.core.records import replace


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen(["sleep", "600"], env={"MARK": "here it is"})
    yield started
    started.kill()
    started.wait()


def test_a_process_is_known_by_more_than_its_pid(sleeper: subprocess.Popen[bytes]) -> None:
    found = process.identify(sleeper.pid)
    assert found is not None
    assert process.is_alive(found)
    stranger = replace(found, start_ticks=found.start_ticks + 1)
    assert not process.is_alive(stranger)
    assert not process.send_signal(stranger, signal.SIGKILL)
    assert sleeper.poll() is None


def test_a_signal_reaches_exactly_the_process_and_its_end_is_seen(
    sleeper: subprocess.Popen[bytes],
) -> None:
    found = process.identify(sleeper.pid)
    assert found is not None
    assert not process.wait_gone(found, 0.01)
    assert process.send_signal(found, signal.SIGKILL)
    assert process.wait_gone(found, 10.0)
    assert not process.is_alive(found), "a zombie is not alive"
    sleeper.wait()
    assert process.identify(sleeper.pid) is None
    assert not process.send_signal(found, signal.SIGKILL)


def test_processes_are_found_by_a_mark_in_their_environment(
    sleeper: subprocess.Popen[bytes],
) -> None:
    assert process.marked("MARK", "here it is") == [sleeper.pid]
    assert process.marked("MARK", "here it") == []


def test_descendants_are_found_below_their_parent(sleeper: subprocess.Popen[bytes]) -> None:
    assert sleeper.pid in process.descendants(os.getpid())
    assert process.descendants(sleeper.pid) == []


def test_a_command_gives_its_output() -> None:
    assert process.run([sys.executable, "-c", "print('yes')"]) == "yes\n"


@pytest.mark.parametrize(
    ("argv", "detail"),
    [
        (["no-such-program"], "is not installed"),
        (["sh", "-c", "echo bad news >&2; exit 3"], "exit status 3: bad news"),
        (["sleep", "5"], "gave no answer in 0.1 s"),
    ],
)
def test_a_command_that_fails_says_how(argv: list[str], detail: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        process.run(argv, timeout_s=0.1 if argv[0] == "sleep" else 10)
    assert str(caught.value) == (
        f"error HR-CORE-001: {' '.join(argv)}: {detail}\n"
        "  why: Headrace needs this program's answer\n"
        "  fix: run the command by hand and mend what it says"
    )
    assert caught.value.exit_status == 5
