"""One errand as another user: how the daemon of a whole machine reaches a user's files.

``python -m headrace.engines.local.as_user ERRAND REPORT GATE`` is given descriptors. It starts as
root, becomes the user for good, and only then touches a path. It never executes another program
before that, so the user cannot trace it or read its memory; to kill or to stop it is all they can
do, and the daemon waits for no errand without a limit.

What an errand reports is the user's word, since it comes from the user's files.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from headrace.core.process import Process, send_signal
from headrace.core.records import Record, Tagged, decode, encode, write_file
from headrace.core.rundir import RunDir, read_plain
from headrace.engines.local import lead
from headrace.engines.local.energy import measured_j

PIECE_BYTES = 1 << 20
_EVENTS_BYTES = 8 << 20
_GO = b"go\n"
FAILED = 3


class Person(Record, frozen=True, kw_only=True):
    """Whom to become."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str
    shell: str


class Text(Record, frozen=True, kw_only=True):
    """A file to be written; ``path`` below the run directory."""

    path: str
    text: str
    mode: int = 0o644


class Become(Tagged, frozen=True, kw_only=True):
    """Wait for the word, then turn into ``program``, given the run directory as last argument."""

    program: tuple[str, ...]
    environment: dict[str, str]


class Settle(Tagged, frozen=True, kw_only=True):
    """Kill what carries the run's mark; report what the lead wrote."""


class Signal(Tagged, frozen=True, kw_only=True):
    process: Process
    number: int


class Look(Tagged, frozen=True, kw_only=True):
    """Report a piece of a file, or with no ``path`` which logs there are."""

    path: str = ""
    offset: int = 0


class Errand(Record, frozen=True, kw_only=True):
    """``fresh``: make the run directory; what lies there of another time is moved aside.

    ``cgroup``: the group to be in from the start.
    """

    person: Person
    run_dir: str
    fresh: bool = False
    write: tuple[Text, ...] = ()
    remove: tuple[str, ...] = ()
    cgroup: str | None = None
    then: Become | Settle | Signal | Look | None = None


class Report(Record, frozen=True, kw_only=True):
    """``error``: why the errand failed. ``lead``: lines of its events; ``said``: its log's last.

    ``attempt``: the number of the last attempt that has a folder.
    """

    error: str | None = None
    killed: tuple[int, ...] = ()
    lead: str = ""
    said: str = ""
    attempt: int = -1
    energy_j: float | None = None
    piece: bytes = b""
    logs: tuple[str, ...] = ()


def become(person: Person) -> None:
    """For good: no identity, group or capability of root is left."""
    os.setgroups(person.groups)
    os.setresgid(person.gid, person.gid, person.gid)
    os.setresuid(person.uid, person.uid, person.uid)
    if person.uid == 0:
        return
    with contextlib.suppress(PermissionError):
        os.setuid(0)
        os._exit(FAILED)  # never: that would be a way back


def run_errand(errand: Errand, gate: int) -> Report:
    """As the user already. ``Become`` does not return once its gate is open."""
    run = RunDir(Path(errand.run_dir))
    if errand.fresh:
        _make(run.root)
    for name in errand.remove:
        (run.root / name).unlink(missing_ok=True)
    for text in errand.write:
        path = run.root / text.path
        path.parent.mkdir(exist_ok=True)
        write_file(path, text.text.encode(), mode=text.mode)
    match errand.then:
        case Become(program=program, environment=environment):
            _turn_into((*program, errand.run_dir), environment, run.root / "lead.log", gate)
        case Settle():
            return _settle(run)
        case Signal(process=process, number=number):
            send_signal(process, signal.Signals(number))
        case Look(path=name, offset=offset):
            return look(run, name, offset)
    return Report()


def _make(root: Path) -> None:
    root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if root.is_symlink() or root.exists():
        root.rename(root.with_name(f"{root.name}.before-{time.time_ns()}"))
    root.mkdir(mode=0o700)


def _turn_into(argv: tuple[str, ...], environment: dict[str, str], log: Path, gate: int) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    if os.read(gate, len(_GO)) != _GO:
        os._exit(0)  # the daemon died before it wrote down who we are
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.execve(argv[0], argv, environment)


def _settle(run: RunDir) -> Report:
    killed = tuple(lead.clear(run))
    try:
        events = read_plain(run.events / "lead.jsonl", -_EVENTS_BYTES).decode(errors="replace")
    except FileNotFoundError:
        events = ""
    attempts = run.attempts()
    return Report(
        killed=killed,
        lead=events,
        said=lead.log_tail(run),
        attempt=attempts[-1] if attempts else -1,
        energy_j=measured_j(run),
    )


def look(run: RunDir, name: str, offset: int) -> Report:
    return Report(piece=piece_of(run, name, offset)) if name else Report(logs=logs_of(run))


def logs_of(run: RunDir) -> tuple[str, ...]:
    """The nodes' logs, by attempt, below the run directory."""
    return tuple(
        str(path.relative_to(run.root))
        for number in run.attempts()
        for path in sorted(run.attempt(number).glob("nodes/*/log"))
    )


def piece_of(run: RunDir, path: str, offset: int) -> bytes:
    """At most ``PIECE_BYTES`` from ``offset``. Raise ``ValueError`` for a path that leads out."""
    if path.startswith("/") or ".." in Path(path).parts:
        raise ValueError(f"{path} is not below the run directory")
    return read_plain(run.root / path, PIECE_BYTES, offset)


def main(arguments: list[str]) -> int:
    errand_file, report_file, gate = map(int, arguments)
    for descriptor in (errand_file, report_file, gate):
        os.set_inheritable(descriptor, False)
    with os.fdopen(errand_file, "rb") as file:
        errand = decode(file.read(), Errand)
    if errand.cgroup is not None:
        Path(errand.cgroup, "cgroup.procs").write_text("0")
    become(errand.person)
    os.umask(0o022)
    os.chdir("/")
    try:
        report = run_errand(errand, gate)
    except (OSError, ValueError) as error:
        report = Report(error=str(error))
    os.pwrite(report_file, encode(report), 0)
    return 0 if report.error is None else FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
