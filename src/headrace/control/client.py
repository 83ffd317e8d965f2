"""Talks to the daemon over its socket, and starts it when it is not there. Light to import.

Every request may be repeated: reads, acts that say what should be, and submissions by their token.
So a daemon that dies in the middle is started again and asked again.
"""

import http.client
import secrets
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from headrace.control.errors import (
    DaemonNotStarted,
    DaemonSilent,
    Impostor,
    MachineDaemonGone,
    RequestNotUnderstood,
)
from headrace.core.errors import HeadraceError
from headrace.core.order import Order
from headrace.core.places import socket_path, state_folder, system_socket, system_state
from headrace.core.process import identify, wait_gone
from headrace.core.records import DecodeError, Record, decode, encode
from headrace.engines.contract import Acted, RunDetail, RunRow, Share, Spent, Submitted
from headrace.schedule.capacity import Capacity
from headrace.schedule.cluster import Reservation

_ALREADY_RUNNING = 75
_TRIES = 3
_TRIES_OF_THE_MACHINES = 30  # an admin who mends it must not cost a user their submission
_START_S = 30.0
_STOP_S = 10.0
_POLL_S = 0.01
_AGAIN_S = 0.2
_STARTS_A_MINUTE = 10
_BACK_S = 20.0
_ANSWER_S = 60.0
_SUBMIT_S = 600.0
_EXPLAIN_S = 300.0
_LONG_POLL_S = 25.0
_TAIL_LINES = 5
_SNAPSHOT = "snapshot: true"
_OF_A_RUN = ("HEADRACE_RUN_ID", "HEADRACE_RUN_DIR", "HEADRACE_CHANNEL_FD", "HEADRACE_ATTEMPT")

_UCRED = struct.Struct("3i")  # pid, uid, gid

T = TypeVar("T")

if TYPE_CHECKING:
    from headrace.schedule.explain import Explanation, Ranked


class DaemonInfo(Record, frozen=True, kw_only=True):
    """``site_problem``: why the site file as it is now is not in force; None when it is."""

    pid: int
    version: str
    runs: str
    site: str = ""
    site_problem: str | None = None


class Problem(Record, frozen=True, kw_only=True):
    """An error as it crosses the socket."""

    code: str
    problem: str
    why: str
    remedy: str
    exit_status: int


def peer_uid(connection: socket.socket) -> int:
    """Who made the other end of a Unix socket, by the kernel's word (SO_PEERCRED, unix(7))."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    uid: int = _UCRED.unpack(raw)[1]
    return uid


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float, *, must_be_root: bool) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path
        self._must_be_root = must_be_root

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
        if self._must_be_root and (uid := peer_uid(self.sock)) != 0:
            raise Impostor(self._path, uid)


class Client:
    """``environ`` says which daemon. Raise ``HeadraceError``.

    ``runs``: the folder that the daemon must serve; None for any. ``system``: the daemon of the
    machine; it is not started by asking, and must be root's.
    """

    def __init__(
        self, environ: Mapping[str, str], *, runs: Path | None, system: bool = False
    ) -> None:
        self._environ = environ
        self._runs = runs
        self.system = system
        self._socket = system_socket(environ) if system else socket_path(environ)
        self._starts_s: list[float] = []

    @property
    def log(self) -> Path:
        folder = system_state(self._environ) if self.system else state_folder(self._environ)
        return folder / "daemon.log"

    def runs_folder(self) -> str:
        """Where the caller's run directories are. Asks the daemon only where it alone knows."""
        return str(self._runs) if self._runs is not None else self.daemon().runs

    # --- what can be asked --------------------------------------------------------------------

    def submit(
        self,
        job: str,
        environment: Mapping[str, str],
        *,
        script: str | None = None,
        token: str | None = None,
    ) -> Submitted:
        """``job``: YAML with absolute paths. ``script``: the text of its batch script, if it has
        one. ``token``: the same for every try."""
        token = token or secrets.token_hex(16)

        def submit(job: str) -> Submitted:
            body = {
                "token": token,
                "job": job,
                "environment": dict(environment),
                "script": script,
            }
            return decode(self._ask("POST", "/v1/runs", body, timeout_s=_SUBMIT_S), Submitted)

        if _SNAPSHOT not in job:
            return submit(job)
        from headrace.control.code import with_code

        folder = Path(self.runs_folder())
        return with_code(job, folder, token, submit, lambda: self.runs(ended=False))

    def dry_run(self, job: str) -> Order:
        """Nothing is copied: with ``snapshot`` the folder shown is the one that would be."""
        if _SNAPSHOT in job:
            from headrace.control.code import without_code

            job = without_code(job)
        return decode(self._ask("POST", "/v1/dry-run", {"job": job}), Order)

    def runs(self, *, ended: bool) -> list[RunRow]:
        return decode(self._ask("GET", f"/v1/runs?ended={str(ended).lower()}"), list[RunRow])

    def find(self, name: str) -> list[RunRow]:
        return decode(self._ask("GET", _run_path(name)), list[RunRow])

    def detail(self, name: str) -> RunDetail:
        return decode(self._ask("GET", f"{_run_path(name)}/detail"), RunDetail)

    def wait(self, name: str, *, timeout_s: float = _LONG_POLL_S) -> list[RunRow]:
        """The rows once all have ended, or as they are after ``timeout_s`` (at most 60)."""
        path = f"{_run_path(name)}/wait?timeout_s={timeout_s}"
        return decode(self._ask("GET", path, timeout_s=timeout_s + _ANSWER_S), list[RunRow])

    def cancel(self, name: str, *, now: bool) -> list[Acted]:
        return decode(self._ask("POST", f"{_run_path(name)}/cancel", {"now": now}), list[Acted])

    def explain(self, name: str, *, sooner: bool = True) -> "Explanation":
        """``sooner``: also what would start it sooner, which takes longer."""
        from headrace.schedule.explain import Explanation

        path = f"{_run_path(name)}/explain?sooner={str(sooner).lower()}"
        return decode(self._ask("GET", path, timeout_s=_EXPLAIN_S), Explanation)

    def ranking(self) -> "list[Ranked]":
        """All that wait for nodes, in order."""
        from headrace.schedule.explain import Ranked

        return decode(self._ask("GET", "/v1/ranking", timeout_s=_EXPLAIN_S), list[Ranked])

    def hold(self, name: str) -> list[Acted]:
        return decode(self._ask("POST", f"{_run_path(name)}/hold"), list[Acted])

    def release(self, name: str) -> list[Acted]:
        return decode(self._ask("POST", f"{_run_path(name)}/release"), list[Acted])

    def requeue(self, name: str) -> list[Acted]:
        return decode(self._ask("POST", f"{_run_path(name)}/requeue"), list[Acted])

    def resize(self, name: str, nodes_min: int, nodes_max: int) -> list[Acted]:
        body = {"nodes_min": nodes_min, "nodes_max": nodes_max}
        return decode(self._ask("POST", f"{_run_path(name)}/resize", body), list[Acted])

    def nodes(self) -> list[Capacity]:
        return decode(self._ask("GET", "/v1/nodes"), list[Capacity])

    def usage(self) -> list[Spent]:
        return decode(self._ask("GET", "/v1/usage"), list[Spent])

    def accounts(self) -> list[Share]:
        return decode(self._ask("GET", "/v1/accounts"), list[Share])

    def logs(self, name: str) -> list[str]:
        """The files of the run's logs, below its directory, by attempt."""
        return decode(self._ask("GET", f"{_run_path(name)}/logs"), list[str])

    def piece(self, name: str, path: str, offset: int) -> bytes:
        """Some bytes of such a file; none at its end."""
        query = f"path={quote(path, safe='')}&offset={offset}"
        return self._ask("GET", f"{_run_path(name)}/piece?{query}")

    def reservations(self) -> list[Reservation]:
        return decode(self._ask("GET", "/v1/reservations"), list[Reservation])

    def reserve(self, reservation: Reservation) -> list[Reservation]:
        """All reservations after this one was added."""
        return decode(self._ask("POST", "/v1/reservations", reservation), list[Reservation])

    def unreserve(self, name: str) -> list[Reservation]:
        path = f"/v1/reservations/{quote(name, safe='')}/delete"
        return decode(self._ask("POST", path), list[Reservation])

    # --- the daemon itself --------------------------------------------------------------------

    def daemon(self) -> DaemonInfo:
        return decode(self._ask("GET", "/v1/daemon"), DaemonInfo)

    def reload(self) -> DaemonInfo:
        """Have the site file read now. Raise what is wrong with it."""
        return decode(self._ask("POST", "/v1/daemon/reload"), DaemonInfo)

    def daemon_if_up(self) -> DaemonInfo | None:
        """None when no daemon answers at the socket. Starts none."""
        try:
            return decode(self._send("GET", "/v1/daemon", None, _ANSWER_S), DaemonInfo)
        except (ConnectionError, FileNotFoundError):
            return None

    def stop_daemon(self) -> DaemonInfo | None:
        """Stop it and wait until it is gone; None when there is none. Runs go on."""
        found = self.daemon_if_up()
        if found is None:
            return None
        process = identify(found.pid)
        self._send("POST", "/v1/daemon/stop", None, _ANSWER_S)
        if process is not None and not wait_gone(process, _STOP_S):
            raise DaemonSilent("stop", f"pid {found.pid} still runs after {_STOP_S:g} s", self.log)
        return found

    # --- how ----------------------------------------------------------------------------------

    def _ask(
        self, method: str, path: str, body: object = None, *, timeout_s: float = _ANSWER_S
    ) -> bytes:
        tries = _TRIES_OF_THE_MACHINES if self.system else _TRIES
        for left in reversed(range(tries)):
            try:
                return self._send(method, path, body, timeout_s)
            except (FileNotFoundError, ConnectionRefusedError):
                self._bring_back()
            except (ConnectionError, http.client.HTTPException) as error:
                if not left:
                    raise DaemonSilent(f"{method} {path}", str(error), self.log) from error
            except PermissionError as error:
                raise DaemonSilent(f"{method} {path}", str(error), self.log) from error
            except TimeoutError as error:
                why = f"nothing came in {timeout_s:g} s"
                raise DaemonSilent(f"{method} {path}", why, self.log) from error
        raise DaemonSilent(f"{method} {path}", f"{tries} daemons in a row ended", self.log)

    def _send(self, method: str, path: str, body: object, timeout_s: float) -> bytes:
        connection = _Connection(self._socket, timeout_s, must_be_root=self.system)
        headers = {} if self._runs is None else {"x-headrace-runs": str(self._runs)}
        try:
            if body is not None:
                headers["content-type"] = "application/json"
            data = None if body is None else encode(body)
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status >= 300:
            raise _as_error(answer)
        return answer

    def _bring_back(self) -> None:
        """Start our own daemon; give who looks after the machine's some time to do so."""
        if not self.system:
            self.start()
            return
        deadline_s = time.monotonic() + _BACK_S
        while not self.answers():
            if time.monotonic() > deadline_s:
                raise MachineDaemonGone(self._socket)
            time.sleep(_AGAIN_S)

    def start(self) -> None:
        """Start the daemon, or wait for the one that another command has just started."""
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._require_calm(time.monotonic())
        begin = self.log.stat().st_size if self.log.exists() else 0
        child = self._spawn()
        deadline_s = time.monotonic() + _START_S
        while not self.answers():
            status = child.poll()
            if status == _ALREADY_RUNNING:  # another one comes up, or is about to end
                time.sleep(_AGAIN_S)
                if not self.answers():
                    child = self._spawn()
            elif status is not None:
                raise DaemonNotStarted(
                    f"ended with exit status {status}", self.log, self._tail(begin)
                )
            if time.monotonic() > deadline_s:
                how = f"did not come up in {_START_S:g} s"
                raise DaemonNotStarted(how, self.log, self._tail(begin))
            time.sleep(_POLL_S)
        child.returncode = child.returncode or 0  # it is to outlive us: nobody waits for it

    def _require_calm(self, now_s: float) -> None:
        """A daemon that ends again and again must not keep a command waiting for ever."""
        self._starts_s = [start_s for start_s in self._starts_s if start_s > now_s - 60] + [now_s]
        if len(self._starts_s) > _STARTS_A_MINUTE:
            how = f"ended {_STARTS_A_MINUTE} times within a minute"
            raise DaemonNotStarted(how, self.log, self._tail(0))

    def _spawn(self) -> subprocess.Popen[bytes]:
        environment = {k: v for k, v in self._environ.items() if k not in _OF_A_RUN}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "headrace.control.daemon", *["--system"] * self.system],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment,
                start_new_session=True,
            )

    def answers(self) -> bool:
        """Whether somebody listens."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(self._socket))
            except OSError:
                return False
        return True

    def _tail(self, begin: int) -> str:
        with self.log.open("rb") as log:
            log.seek(begin)
            lines = log.read().decode(errors="replace").splitlines()
        return "\n       ".join(lines[-_TAIL_LINES:])


def _run_path(name: str) -> str:
    return f"/v1/runs/{quote(name, safe='')}"


def _as_error(answer: bytes) -> HeadraceError:
    """The daemon's error as if it had been raised here."""
    try:
        problem = decode(answer, Problem)
    except DecodeError:
        return RequestNotUnderstood(answer[:200].decode(errors="replace"))
    kind = type(
        "DaemonProblem",
        (HeadraceError,),
        {"code": problem.code, "exit_status": problem.exit_status},
    )
    error: HeadraceError = kind(problem.problem, why=problem.why, remedy=problem.remedy)
    return error
