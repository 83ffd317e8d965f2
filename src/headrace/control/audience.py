"""Whom a daemon serves, by the uid that the kernel tells, and what they may."""

import grp
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from headrace.control.errors import NotYourDaemon
from headrace.engines.contract import Caller


class Audience(Protocol):
    """``runs``: the one folder of runs that is served; None where each user has one.

    ``idle_exit_s``: the daemon ends after so long without runs and requests; None is never.
    """

    runs: Path | None
    idle_exit_s: float | None

    def caller(self, uid: int) -> Caller:
        """Who that is. Raise ``NotYourDaemon``."""
        ...


class Owner:
    """Only the user whose daemon this is."""

    def __init__(self, runs: Path, *, idle_exit_s: float | None) -> None:
        self.runs: Path | None = runs
        self.idle_exit_s = idle_exit_s
        self._uid = os.getuid()

    def caller(self, uid: int) -> Caller:
        if uid != self._uid:
            raise NotYourDaemon(uid, self._uid)
        return Caller(uid=uid, name=name_of(uid), admin=True)


class Everybody:
    """All users of the machine; root and the members of a group are admins."""

    runs: Path | None = None
    idle_exit_s: float | None = None

    def __init__(self, admins: Callable[[], str | None]) -> None:
        """``admins``: the name of that group now; None is no group."""
        self._admins = admins

    def caller(self, uid: int) -> Caller:
        return Caller(uid=uid, name=name_of(uid), admin=uid == 0 or self._in_group(uid))

    def _in_group(self, uid: int) -> bool:
        group = self._admins()
        try:
            wanted, person = grp.getgrnam(group or ""), pwd.getpwuid(uid)
        except KeyError:
            return False
        return wanted.gr_gid in os.getgrouplist(person.pw_name, person.pw_gid)


def name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
