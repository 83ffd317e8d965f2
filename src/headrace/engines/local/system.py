"""The daemon of a whole machine: runs of many users, none of whom it trusts.

Implements ``headrace.engines.local.store.Store``. The journal is the truth: who asked for what,
what was started, what followed. The daemon starts every lead itself and knows it by (boot, pid,
start time); it goes near a user's files only through errands, which are that user. What those files
say decides no more than the state that is shown of that user's run.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from headrace.core.events import Ended, Entry, Event, Placed, Requeued, Started
from headrace.core.order import Order, StopRequest
from headrace.core.process import open_pidfd
from headrace.core.records import encode, replace, write_file
from headrace.core.rundir import RunDir
from headrace.core.states import State
from headrace.engines.contract import Caller
from headrace.engines.local.as_user import FAILED, Become, Errand, Report, Settle, Signal, Text
from headrace.engines.local.errands import (
    PATIENCE_S,
    NoSuchPerson,
    login_environment,
    person_of,
    send,
    take_in,
)
from headrace.engines.local.groups import Groups
from headrace.engines.local.history import History, fold
from headrace.engines.local.journal import Accepted, Happened, Journal, Kept, Led, Line
from headrace.engines.local.spells import claims_of, past_of, plain, sane_j
from headrace.engines.local.store import Found, Left, Live, MakeOrder
from headrace.engines.local.submission import Element, Submission

_GRACE_MAX_S = 1800.0
_EXCUSE_S = 60.0
_CHECK_S = 5.0
_ATTEMPT_MAX = 1_000_000


@dataclass
class Run:
    """What is known of a run that has not ended.

    ``exit_status``, ``error``: how its lead went, if we saw it. ``killed``: what it left behind.
    ``last_attempt``: that number as the user's files say it.
    """

    asked: Submission
    job: str
    script: str | None
    entries: list[Entry] = field(default_factory=list)
    led: Led | None = None
    exit_status: int | None = None
    error: str | None = None
    killed: tuple[int, ...] = ()
    last_attempt: int = -1
    too_late: bool = False

    def begin(self, led: Led) -> None:
        self.led, self.exit_status, self.error = led, None, None
        self.killed, self.too_late = (), False

    @property
    def attempt(self) -> int:
        return self.entries[-1].attempt if self.entries else 0

    @property
    def has_started(self) -> bool:
        return any(isinstance(entry.event, Started) for entry in self.entries)


@dataclass
class Watched(Live):
    """``report``: the descriptor of what the errand reports; ``until_s``: when it is overdue."""

    report: int = -1
    until_s: float = inf


class Ledger:
    """``folder``: root's own, on a local disk. ``runs``: the folder of a user's run directories,
    with ``{user}`` in it; None is a folder in their home."""

    def __init__(
        self,
        folder: Path,
        *,
        runs: str | None,
        program: tuple[str, ...],
        environ: Mapping[str, str],
        groups: Groups,
        now_s: Callable[[], float],
    ) -> None:
        self._journal = Journal(folder)
        self._secrets = folder / "environments"
        self._secrets.mkdir(mode=0o700, exist_ok=True)
        self._folder_of = runs
        self._program = program
        self._environ = environ
        self._groups = groups
        self._now_s = now_s
        self._runs: dict[str, Run] = {}
        self._ended: list[Kept] = []
        self._watched: dict[str, Watched] = {}
        self._on_their_way: list[Watched] = []

    # --- keeping ------------------------------------------------------------------------------

    def open(self, ended: set[str]) -> Found:
        past: dict[str, Kept] = {}
        for line in self._journal.read():
            self._replay(line, past)
        number = max((one.submission.number for one in past.values()), default=0)
        waiting = []
        for run in list(self._runs.values()):
            number = max(number, run.asked.number)
            history = past_of(run.entries)
            if history.state.is_final:
                self._finish(run)
                past[run.asked.run_id] = self._ended[-1]
            else:
                waiting.append((run.asked, history))
        over = [
            (one.submission, past_of(one.entries))
            for run_id, one in past.items()
            if run_id not in ended
        ]
        present = {*past, *self._runs}
        self._rewrite_if_long()
        self._forget_secrets()
        return Found([*over, *waiting], present, number)

    def _replay(self, line: Line, past: dict[str, Kept]) -> None:
        match line:
            case Accepted(elements=elements, script=script):
                for one in elements:
                    self._runs[one.submission.run_id] = Run(one.submission, one.job, script)
            case Happened(run_id=run_id, entry=entry):
                self._runs[run_id].entries.append(entry)
            case Led(run_id=run_id):
                self._runs[run_id].led = line
            case Kept(submission=asked, job=""):
                past[asked.run_id] = line
            case Kept(submission=asked, entries=entries, job=job, script=script, led=led):
                self._runs[asked.run_id] = Run(asked, job, script, list(entries), led)

    def _rewrite_if_long(self) -> None:
        if not self._journal.is_long:
            return
        waiting = [
            Kept(
                submission=run.asked,
                entries=tuple(run.entries),
                job=run.job,
                script=run.script,
                led=run.led,
            )
            for run in self._runs.values()
        ]
        self._journal.rewrite(waiting, self._ended)
        self._ended.clear()

    def close(self) -> None:
        """Leads and errands go on without us."""
        self._journal.close()
        self._groups.close()
        for watched in (*self._watched.values(), *self._on_their_way):
            if watched.report >= 0:
                os.close(watched.report)
            if watched.child is not None:
                watched.child.returncode = watched.child.returncode or 0  # nobody waits for it
        for watched in self._on_their_way:
            os.close(watched.pidfd)
        self._watched.clear()
        self._on_their_way.clear()

    def runs_of(self, who: Caller) -> Path:
        person = person_of(who.uid)
        if self._folder_of is not None:
            return Path(self._folder_of.replace("{user}", person.name))
        return Path(person.home) / ".local/share/headrace/system"

    def run(self, asked: Submission) -> RunDir:
        assert asked.runs is not None, "every run of the journal has a place"
        return RunDir(Path(asked.runs) / asked.run_id)

    def add(
        self, elements: Sequence[Element], environment: Mapping[str, str], script: str | None
    ) -> None:
        """The environment may hold secrets: it goes to a file of its own, and away at the end."""
        write_file(self._secret(elements[0].submission), encode(dict(environment)), mode=0o600)
        self._journal.append(Accepted(elements=tuple(elements), script=script))
        for one in elements:
            self._runs[one.submission.run_id] = Run(one.submission, one.job, script)

    def _secret(self, asked: Submission) -> Path:
        return self._secrets / f"{asked.array_id or asked.run_id}.json"

    def _forget_secrets(self) -> None:
        """What a crash left of runs that have ended, or were never accepted."""
        known = {self._secret(run.asked) for run in self._runs.values()}
        for path in self._secrets.iterdir():
            if path not in known:
                path.unlink()

    def job(self, asked: Submission) -> str:
        return self._runs[asked.run_id].job

    def read(self, asked: Submission) -> History:
        run = self._runs.get(asked.run_id)
        return History() if run is None else past_of(run.entries)

    def write(
        self, asked: Submission, event: Event, *, attempt: int | None = None, durable: bool = False
    ) -> History:
        """Always durable: the journal is the only truth there is."""
        run = self._runs[asked.run_id]
        entry = self._entry(run, event, run.attempt if attempt is None else attempt)
        self._journal.append(Happened(run_id=asked.run_id, entry=entry))
        run.entries.append(entry)
        history = past_of(run.entries)
        if history.state.is_final:
            self._finish(run)
        self._rewrite_if_long()
        return history

    def _entry(self, run: Run, event: Event, attempt: int) -> Entry:
        return Entry(seq=len(run.entries), attempt=attempt, time_s=self._now_s(), event=event)

    def _finish(self, run: Run) -> None:
        del self._runs[run.asked.run_id]
        self._ended.append(Kept(submission=run.asked, entries=tuple(run.entries)))
        secret = self._secret(run.asked)
        if all(self._secret(other.asked) != secret for other in self._runs.values()):
            secret.unlink(missing_ok=True)

    # --- leads --------------------------------------------------------------------------------

    def start(self, asked: Submission, placed: tuple[Placed, ...], make_order: MakeOrder) -> Live:
        """The lead waits at its gate until the journal knows it."""
        run, person = self._runs[asked.run_id], person_of(asked.uid or 0)
        attempt = run.attempt + 1 if run.has_started else 0
        order = make_order(past_of(run.entries), attempt)
        started = self._entry(run, Started(placed=placed), attempt)
        environment = {
            **login_environment(person, self._environ),
            "HEADRACE_RUN_ID": asked.run_id,
            "HEADRACE_RUN_DIR": str(self.run(asked).root),
        }
        errand = self._errand(
            asked,
            fresh=not run.has_started,
            write=(*self._files(run, order), _events_file([*run.entries, started])),
            remove=("stop.json",),
            cgroup=self._groups.make(asked.run_id),
            then=Become(program=self._program, environment=environment),
        )
        sent = send(errand, self._environ)
        led = Led(run_id=asked.run_id, process=sent.process, kill_at_s=self._kill_at_s(order))
        try:
            self._journal.append(Happened(run_id=asked.run_id, entry=started), led)
            with contextlib.suppress(BrokenPipeError):  # its user has killed it already
                os.write(sent.gate, b"go\n")
        finally:
            os.close(sent.gate)
        run.entries.append(started)
        run.begin(led)
        until_s = inf if led.kill_at_s is None else led.kill_at_s
        watched = Watched(sent.pidfd, sent.process, sent.child, sent.report, until_s)
        self._watched[asked.run_id] = watched
        return watched

    def _files(self, run: Run, order: Order) -> list[Text]:
        environment = self._secret(run.asked).read_text()
        files = [
            Text(path="job.yaml", text=run.job),
            Text(path="environment.json", text=environment, mode=0o600),
            Text(path="submission.json", text=encode(run.asked).decode()),
            Text(path="order.json", text=encode(order).decode()),
        ]
        if run.script is not None:
            files.append(Text(path="script", text=run.script, mode=0o755))
        return files

    def _kill_at_s(self, order: Order) -> float | None:
        """When a lead that keeps to its time limit is surely gone."""
        if order.time_limit_s is None:
            return None
        left_s = max(0.0, order.time_limit_s - order.time_used_s)
        grace_s = min(order.stop_grace_s + order.kill_wait_s, _GRACE_MAX_S)
        return self._now_s() + left_s + grace_s + _EXCUSE_S

    def adopt(self, asked: Submission) -> Live | None:
        led = self._runs[asked.run_id].led
        pidfd = None if led is None else open_pidfd(led.process)
        if led is None or pidfd is None:
            return None
        watched = Watched(pidfd, led.process, None, until_s=led.kill_at_s or inf)
        self._watched[asked.run_id] = watched
        return watched

    def ask_to_stop(self, asked: Submission, live: Live, request: StopRequest) -> None:
        """One that does not listen is killed when it has had its grace and more."""
        watched = self._watched[asked.run_id]
        if watched.lead is None:
            return
        grace_s = min(request.grace_s or _GRACE_MAX_S, _GRACE_MAX_S)
        watched.until_s = min(watched.until_s, self._now_s() + grace_s + _EXCUSE_S)
        order = Text(path="stop.json", text=encode(request).decode())
        stop = Signal(process=watched.lead, number=int(signal.SIGTERM))
        try:
            self._send_off(asked, write=(order,), then=stop)
        except (NoSuchPerson, OSError):
            watched.signal(signal.SIGTERM)

    # --- ends ---------------------------------------------------------------------------------

    def collect(self, asked: Submission, live: Live | None) -> Left | Live:
        """First the lead is gone and somebody is sent to look; then they are back."""
        run, watched = self._runs[asked.run_id], self._watched.pop(asked.run_id, None)
        if watched is not None and watched.lead is None:
            assert watched.child is not None, "errands are ours"
            watched.child.wait()
            self._groups.remove(asked.run_id)
            return self._left(run, take_in(watched.report))
        if watched is not None and watched.child is not None:
            run.exit_status = watched.child.wait()
            report = take_in(watched.report)
            run.error = report.error if run.exit_status == FAILED else None
        run.killed = tuple(self._groups.kill(asked.run_id))
        try:
            return self._send(asked, then=Settle())
        except (NoSuchPerson, OSError) as problem:
            return self._left(run, Report(error=str(problem)))

    def _left(self, run: Run, report: Report) -> Left:
        """What the user's files say, as far as it can be true; else what we saw ourselves."""
        history, killed = past_of(run.entries), (*run.killed, *report.killed)
        run.last_attempt = min(report.attempt, _ATTEMPT_MAX)
        if run.too_late:
            history = _ended(history, State.TIMEOUT, 1, "it outlived its time limit and was killed")
        elif report.error is not None:
            why = f"its files cannot be read: {plain(report.error)}"
            seen = run.exit_status
            state = State.COMPLETED if seen == 0 else State.FAILED
            history = _ended(history, state, 1 if seen is None else seen, why)
        else:
            lead = list(claims_of(report.lead))
            process = None if run.led is None else run.led.process
            told = fold(run.entries, lead, process)
            history = replace(told, attempts=history.attempts, lead_time_s=history.lead_time_s)
        said = plain(run.error or report.said)
        error = None if run.exit_status is None else f"exit status {run.exit_status}, {said}"
        return Left(history, killed, error, sane_j(report.energy_j))

    def settle(self, asked: Submission, left: Left, event: Ended | Requeued | None) -> History:
        run, past = self._runs[asked.run_id], left.history
        follows = event or Ended(
            state=past.state, exit_code=past.exit_code or 0, detail=past.detail
        )
        history = self.write(asked, follows, attempt=max(run.attempt, run.last_attempt))
        if event is not None:
            with contextlib.suppress(NoSuchPerson, OSError):
                self._send_off(asked, write=(_events_file(run.entries),))
        return history

    def overdue(self, now_s: float) -> float:
        self._on_their_way = [one for one in self._on_their_way if not self._is_back(one, now_s)]
        for run_id, watched in self._watched.items():
            if now_s >= watched.until_s:
                self._lose_patience(self._runs[run_id], watched, now_s)
        times = [watched.until_s for watched in self._watched.values()]
        return min([*times, *(now_s + _CHECK_S for _ in self._on_their_way)], default=inf)

    def _lose_patience(self, run: Run, watched: Watched, now_s: float) -> None:
        limit_s = None if run.led is None else run.led.kill_at_s
        watched.until_s = now_s + _CHECK_S
        if watched.lead is None:
            assert watched.child is not None, "errands are ours"
            watched.child.kill()
            return
        run.too_late = limit_s is not None and now_s >= limit_s
        watched.signal(signal.SIGKILL)

    @staticmethod
    def _is_back(watched: Watched, now_s: float) -> bool:
        assert watched.child is not None, "errands are ours"
        if watched.child.poll() is None:
            if now_s >= watched.until_s:
                watched.child.kill()
            return False
        os.close(watched.report)
        os.close(watched.pidfd)
        return True

    # --- errands ------------------------------------------------------------------------------

    def _errand(self, asked: Submission, **what: Any) -> Errand:  # noqa: ANN401
        assert asked.uid is not None, "every run of the journal has an owner"
        return Errand(person=person_of(asked.uid), run_dir=str(self.run(asked).root), **what)

    def _send(self, asked: Submission, **what: Any) -> Watched:  # noqa: ANN401
        """Somebody to be waited for."""
        watched = self._sent(asked, what)
        self._watched[asked.run_id] = watched
        return watched

    def _send_off(self, asked: Submission, **what: Any) -> None:  # noqa: ANN401
        """Somebody whose return matters to nobody."""
        self._on_their_way.append(self._sent(asked, what))

    def _sent(self, asked: Submission, what: Mapping[str, Any]) -> Watched:
        sent = send(self._errand(asked, **what), self._environ)
        os.close(sent.gate)
        return Watched(sent.pidfd, None, sent.child, sent.report, self._now_s() + PATIENCE_S)


def _events_file(entries: Sequence[Entry]) -> Text:
    lines = "".join(encode(entry).decode() + "\n" for entry in entries)
    return Text(path="events/engine.jsonl", text=lines)


def _ended(history: History, state: State, exit_code: int, detail: str) -> History:
    return replace(history, state=state, exit_code=exit_code, detail=detail)
