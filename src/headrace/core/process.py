"""Processes: a name that cannot be mistaken for another's, safe signals, descendants, commands.

Process ids wrap, so a process is (boot id, pid, start time). Signals go through a pidfd after that
triple has been checked, so that no stranger is ever hit. Linux only; formats: proc(5), prctl(2).
"""

import ctypes
import os
import select
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from headrace.core.errors import Unreachable
from headrace.core.records import Record

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class Process(Record, frozen=True, kw_only=True):
    """Identity of a process. ``start_ticks`` is field 22 of /proc/PID/stat, in clock ticks."""

    boot_id: str
    pid: int
    start_ticks: int


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stat_fields(pid: int) -> list[bytes] | None:
    """Fields of /proc/PID/stat from the state (field 3) on; None when there is no such process."""
    try:
        data = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return data[data.rfind(b")") + 2 :].split()


def identify(pid: int) -> Process | None:
    """The process that has this pid now, or None."""
    fields = _stat_fields(pid)
    return (
        None if fields is None else Process(boot_id=boot_id(), pid=pid, start_ticks=int(fields[19]))
    )


def is_alive(process: Process) -> bool:
    """Zombies are not alive: their exit code may be waited for, but nothing of theirs runs."""
    fields = _stat_fields(process.pid)
    return (
        fields is not None
        and int(fields[19]) == process.start_ticks
        and fields[0] not in (b"Z", b"X")
        and boot_id() == process.boot_id
    )


def open_pidfd(process: Process) -> int | None:
    """A pidfd that is surely this process's, or None when it is gone. The caller closes it."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if identify(process.pid) != process:
        os.close(descriptor)
        return None
    return descriptor


def send_signal(process: Process, number: signal.Signals) -> bool:
    """Signal exactly this process. False when it is gone."""
    descriptor = open_pidfd(process)
    if descriptor is None:
        return False
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def wait_gone(process: Process, timeout_s: float) -> bool:
    """Wait until the process has exited (it may still be a zombie). True when it has."""
    descriptor = open_pidfd(process)
    if descriptor is None:
        return True
    try:
        return wait_readable(descriptor, timeout_s)
    finally:
        os.close(descriptor)


def wait_readable(descriptor: int, timeout_s: float) -> bool:
    """Wait for a descriptor; a pidfd is readable when its process has ended. Any number is fine."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, timeout_s) * 1000))


def become_subreaper() -> None:
    """Orphans among our descendants become our children, not init's (prctl(2))."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel to signal us when our parent thread ends. Undone by setuid programs."""
    _prctl(_PR_SET_PDEATHSIG, int(number))


_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def name_process(name: str) -> None:
    """What ps, top and pstree call us: at most 15 bytes of ``name`` (proc(5), comm)."""
    Path("/proc/self/comm").write_bytes(name.encode()[:15])


def children_by_parent() -> dict[int, list[int]]:
    """One look at the process table: parent pid -> pids of its children. Zombies are included."""
    table: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat_fields(int(name))) is not None:
            table.setdefault(int(fields[1]), []).append(int(name))
    return table


def descendants(pid: int) -> list[int]:
    """All processes below ``pid``, parents before children."""
    table = children_by_parent()
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = table.get(waiting.pop(), [])
        found.extend(below)
        waiting.extend(below)
    return found


def marked(variable: str, value: str) -> list[int]:
    """Processes whose start environment has VARIABLE=value and which we may read; not ourselves."""
    wanted = f"{variable}={value}".encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            environment = Path(f"/proc/{name}/environ").read_bytes()
        except OSError:
            continue
        if wanted in environment.split(b"\0"):
            found.append(int(name))
    return found


class CommandFailed(Unreachable):
    """A program we depend on could not be run, failed, or did not answer in time."""

    code = "HR-CORE-001"

    def __init__(self, argv: Sequence[str], detail: str) -> None:
        super().__init__(
            f"{' '.join(argv)}: {detail}",
            why="Headrace needs this program's answer",
            remedy="run the command by hand and mend what it says",
        )


def run(argv: Sequence[str], *, timeout_s: float = 30.0) -> str:
    """Standard output of a command. No shell. Raise ``CommandFailed``."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
    except FileNotFoundError as error:
        raise CommandFailed(argv, "is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(argv, f"gave no answer in {timeout_s:g} s") from error
    if done.returncode != 0:
        raise CommandFailed(argv, f"exit status {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout
