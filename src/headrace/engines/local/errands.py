"""Sends processes out as other users (``as_user``), and takes in what they report.

The daemon never waits for one: what it gives and what it gets lies in anonymous files, whole from
the start, and the one word it says through a pipe always fits.
"""

import os
import pwd
import subprocess
import sys
from collections.abc import Mapping
from typing import NamedTuple

from headrace.core.errors import NotFound
from headrace.core.process import Process, identify, open_pidfd
from headrace.core.records import DecodeError, decode, encode
from headrace.engines.local.as_user import Errand, Person, Report

PATIENCE_S = 30.0
_REPORT_BYTES = 32 << 20
_SILENT = "nobody came back"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class NoSuchPerson(NotFound):
    """A uid that no user has."""

    code = "HR-LOCAL-009"

    def __init__(self, uid: int) -> None:
        super().__init__(
            f"there is no user with the id {uid} on this machine",
            why="a run is started as its user, with their home and groups",
            remedy="add the user, or cancel their runs",
        )


def person_of(uid: int) -> Person:
    """Who that is now. Raise ``NoSuchPerson``."""
    try:
        found = pwd.getpwuid(uid)
    except KeyError:
        raise NoSuchPerson(uid) from None
    return Person(
        uid=uid,
        gid=found.pw_gid,
        groups=tuple(os.getgrouplist(found.pw_name, found.pw_gid)),
        name=found.pw_name,
        home=found.pw_dir,
        shell=found.pw_shell or "/bin/sh",
    )


def own_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a program of ours needs to be found. Nothing of root's own goes to a user."""
    kept = {name: environ[name] for name in ("PYTHONPATH", "LANG", "TZ") if name in environ}
    return {"PATH": _PATH, **kept}


def login_environment(person: Person, environ: Mapping[str, str]) -> dict[str, str]:
    """That of a lead; its ranks get what was submitted."""
    words = {"HOME": person.home, "USER": person.name, "LOGNAME": person.name}
    return {**own_environment(environ), **words, "SHELL": person.shell}


class Sent(NamedTuple):
    """An errand under way. ``gate``: write the word, or close it; ``report``: a descriptor."""

    child: subprocess.Popen[bytes]
    process: Process
    pidfd: int
    gate: int
    report: int


def send(errand: Errand, environ: Mapping[str, str]) -> Sent:
    """Raise ``OSError`` when no process can be started."""
    given, report = os.memfd_create("errand"), os.memfd_create("report")
    gate_read, gate_write = os.pipe2(os.O_CLOEXEC)
    try:
        os.write(given, encode(errand))
        os.lseek(given, 0, os.SEEK_SET)
        descriptors = (given, report, gate_read)
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "headrace.engines.local.as_user", *map(str, descriptors)],
            stdin=subprocess.DEVNULL,
            pass_fds=descriptors,
            cwd="/",
            env=own_environment(environ),
            start_new_session=True,
        )
    except OSError:
        os.close(report)
        os.close(gate_write)
        raise
    finally:
        os.close(given)
        os.close(gate_read)
    process = identify(child.pid)
    assert process is not None, "our child is at least a zombie until we wait for it"
    pidfd = open_pidfd(process)
    assert pidfd is not None, "our child has a pidfd until we wait for it"
    return Sent(child, process, pidfd, gate_write, report)


def take_in(report: int) -> Report:
    """What the errand left in its file, which is closed. Nothing there is an error."""
    try:
        data = os.pread(report, _REPORT_BYTES, 0)
        return decode(data, Report) if data else Report(error=_SILENT)
    except DecodeError:
        return Report(error=_SILENT)
    finally:
        os.close(report)
