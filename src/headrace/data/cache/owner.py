"""Who may write in a cache folder: one process at a time, without file locks.

Claims are numbered files, ``claim-<n>``; the highest one counts, and names a process. Whoever finds
it given back, or its process dead, makes the next one: a hard link, which only one can. It is given
back by being emptied, which a full disk does not keep anyone from. Older
claims are swept by the owner, the highest is never removed; so a claim that was made late, after
others came and went, is seen to be too low. A process is (boot id, pid, start time). From another
PID namespace (a container), or another host if the folder is shared, it cannot be seen: there a
claim counts as long as it is fresh.
"""

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from headrace.core.process import Process, boot_id, identify, is_alive
from headrace.core.records import DecodeError, Record, decode, encode

FRESH_S = 60.0
_TOUCH_S = 10.0
_LOOK_S = 0.2
_PREFIX = "claim-"


class Holder(Record, frozen=True, kw_only=True):
    """A process and the namespace that it is seen in. ``run_id``: for people."""

    process: Process
    pid_namespace: str
    run_id: str


class Claim(Record, frozen=True, kw_only=True):
    """What a claim file says until it is given back."""

    holder: Holder


def holder(process: Process, run_id: str) -> Holder:
    return Holder(process=process, pid_namespace=_namespace(), run_id=run_id)


def this_process(run_id: str) -> Holder:
    process = identify(os.getpid())
    assert process is not None
    return holder(process, run_id)


def lives(one: Holder, file: Path) -> bool:
    """``file`` is touched by its holder now and then."""
    if (one.pid_namespace, one.process.boot_id) == (_namespace(), boot_id()):
        return is_alive(one.process)
    try:
        return time.time() - file.stat().st_mtime < FRESH_S
    except OSError:
        return False


@contextlib.contextmanager
def owned(
    folder: Path, me: Holder, *, waiting: Callable[[Holder], None] = lambda other: None
) -> Iterator[None]:
    """Be the owner of ``folder``. Waits for one that lives, and calls ``waiting`` meanwhile.

    Raise ``OSError`` when the folder cannot be written to.
    """
    path = _acquire(folder, me, waiting)
    done = threading.Event()
    beat = threading.Thread(target=_touch, args=(path, done), daemon=True)
    beat.start()
    try:
        yield
    finally:
        done.set()
        beat.join()
        with contextlib.suppress(OSError):
            os.truncate(path, 0)


def current(folder: Path) -> Holder | None:
    """The owner, if there is one that lives."""
    number = _highest(folder)
    return None if number is None else _living(folder / f"{_PREFIX}{number}")


def _acquire(folder: Path, me: Holder, waiting: Callable[[Holder], None]) -> Path:
    while True:
        number = _highest(folder)
        other = None if number is None else _living(folder / f"{_PREFIX}{number}")
        if other is not None:
            waiting(other)
            time.sleep(_LOOK_S)
            continue
        mine = 0 if number is None else number + 1
        path = folder / f"{_PREFIX}{mine}"
        if not _make(path, Claim(holder=me)):
            continue
        if _highest(folder) != mine:
            path.unlink(missing_ok=True)
            continue
        for lower in _numbers(folder):
            if lower < mine:
                (folder / f"{_PREFIX}{lower}").unlink(missing_ok=True)
        return path


def _make(path: Path, claim: Claim) -> bool:
    """Whether it was ours to make. It appears with all its content."""
    temporary = path.with_name(f".claim.{secrets.token_hex(8)}")
    try:
        temporary.write_bytes(encode(claim))
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _living(path: Path) -> Holder | None:
    try:
        held = decode(path.read_bytes(), Claim).holder
    except (OSError, DecodeError):
        return None
    return held if lives(held, path) else None


def _highest(folder: Path) -> int | None:
    return max(_numbers(folder), default=None)


def _numbers(folder: Path) -> list[int]:
    words = [name.removeprefix(_PREFIX) for name in os.listdir(folder) if name.startswith(_PREFIX)]
    return [int(word) for word in words if word.isdigit()]


def _touch(path: Path, done: threading.Event) -> None:
    while not done.wait(_TOUCH_S):
        with contextlib.suppress(OSError):
            os.utime(path)


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
