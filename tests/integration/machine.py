"""A machine of many users: a daemon of root's with places of its own, and real Unix users."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import headrace

SOURCE = str(Path(headrace.__file__).parents[1])
_START_S = 30.0


def python_for_all() -> list[str]:
    """An interpreter for every user, as (program, PYTHONPATH); skips where there is none."""
    for program in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        path = os.pathsep.join([SOURCE, sysconfig.get_path("purelib")])
        if not Path(program).exists():
            continue
        done = subprocess.run(
            [program, "-c", "import headrace.cli.main, msgspec, pydantic, fastapi"],
            user="nobody" if _may_read(program) else None,
            env={"PYTHONPATH": path},
            capture_output=True,
            check=False,
        )
        if done.returncode == 0 and _may_read(program):
            return [program, path]
    pytest.skip("no Python with our packages that every user may run")


def _may_read(program: str) -> bool:
    return all(
        folder.stat().st_mode & 1
        for path in (program, os.path.realpath(program))
        for folder in Path(path).parents
    )


class User:
    """A real user with a home."""

    def __init__(self, name: str) -> None:
        subprocess.run(["useradd", "--create-home", name], check=True, capture_output=True)
        found = pwd.getpwnam(name)
        self.name, self.uid, self.gid = name, found.pw_uid, found.pw_gid
        self.home = Path(found.pw_dir)

    def remove(self) -> None:
        subprocess.run(["userdel", "--remove", self.name], check=False, capture_output=True)


class Machine:
    """The daemon, and its users' command lines."""

    def __init__(self, folder: Path, users: Sequence[User]) -> None:
        self.program, path = python_for_all()
        self.folder, self.users = folder, list(users)
        self.state = folder / "state"
        self.places = {
            "HEADRACE_SYSTEM_SOCKET": str(folder / "run" / "daemon.sock"),
            "HEADRACE_SYSTEM_STATE": str(self.state),
            "HEADRACE_SITE": str(folder / "site.toml"),
            "PYTHONPATH": path,
            "PATH": "/usr/bin:/bin",
        }
        self.daemon: subprocess.Popen[bytes] | None = None

    def configure(self, text: str) -> None:
        (self.folder / "site.toml").write_text(text)

    def start(self) -> None:
        with (self.folder / "daemon.log").open("ab") as log:
            self.daemon = subprocess.Popen(
                [self.program, "-m", "headrace.control.daemon", "--system"],
                env=self.places,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        socket = Path(self.places["HEADRACE_SYSTEM_SOCKET"])
        deadline_s = time.monotonic() + _START_S
        while not socket.exists():
            assert self.daemon.poll() is None, self.log()
            assert time.monotonic() < deadline_s, self.log()
            time.sleep(0.05)

    def kill(self) -> None:
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()

    def log(self) -> str:
        return (self.folder / "daemon.log").read_text()

    def as_user(
        self, user: User | None, *words: str, check: bool = True, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """``headrace`` as that user; None is root."""
        done = subprocess.run(
            [self.program, "-m", "headrace.cli.main", *words],
            env={**self.environment(user), **more},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            **_identity(user),
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr + self.log()
        return done

    def environment(self, user: User | None) -> dict[str, str]:
        home = "/root" if user is None else str(user.home)
        return {**self.places, "HOME": home, "HEADRACE_DAEMON": "system"}

    def submit(self, user: User, *words: str) -> str:
        return self.as_user(user, "run", *words).stdout.strip()

    def status(self, user: User | None, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.as_user(user, "status", run_id, "--json").stdout)
        return found

    def stop(self) -> None:
        if self.daemon is not None and self.daemon.poll() is None:
            rows = json.loads(self.as_user(None, "ps", "--json", check=False).stdout or "{}")
            for row in rows.get("runs", []):
                self.as_user(None, "cancel", "--now", row["id"], check=False)
            deadline_s = time.monotonic() + 10
            while time.monotonic() < deadline_s and "RUNNING" in self.as_user(None, "ps").stdout:
                time.sleep(0.1)
            self.daemon.terminate()
            assert self.daemon.wait(20) == 0, self.log()
            assert not Path(self.places["HEADRACE_SYSTEM_SOCKET"]).exists()


def _identity(user: User | None) -> dict[str, Any]:
    if user is None:
        return {}
    return {"user": user.uid, "group": user.gid, "extra_groups": [user.gid]}


@contextmanager
def machine_of(*names: str) -> Iterator[Machine]:
    """A machine with users of these names, all gone afterwards; skips without root."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes users and starts runs as them")
    if shutil.which("useradd") is None:
        pytest.skip("needs useradd")
    python_for_all()
    folder = Path(tempfile.mkdtemp(prefix="hr-machine-", dir="/var/tmp"))
    folder.chmod(0o755)
    users: list[User] = []
    try:
        users.extend(User(f"{name}{os.getpid() % 10_000}") for name in names)
        machine = Machine(folder, users)
        try:
            yield machine
        finally:
            machine.stop()
    finally:
        for user in users:
            user.remove()
        shutil.rmtree(folder, ignore_errors=True)
