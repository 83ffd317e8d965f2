"""One thread for all jobs of an executor: sees results arrive, and runs end without one.

Results are files in one folder, so a look is one listing of it however many jobs there are; it is
done often while results come and once a second when none do. The engine is asked seldom, for all
runs at once, and the less often the longer its answer takes.
"""

import contextlib
import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from headrace.control.door import Door
from headrace.control.executor.errors import (
    FunctionRaised,
    RemoteTraceback,
    ResultUnreadable,
    RunCancelled,
    RunLost,
)
from headrace.control.executor.job import Job, log_tail
from headrace.core.errors import NotFound
from headrace.core.records import DecodeError
from headrace.core.states import State
from headrace.engines.contract import RunRow
from headrace.launch.calls import (
    Name,
    Outcome,
    outcomes_folder,
    parse_name,
    read_outcome,
    refresh,
)

_PAUSE_MIN_S, _PAUSE_MAX_S = 0.05, 1.0
_LOOK_S, _FIRST_LOOK_S, _COSTS = 2.0, 0.5, 20.0
_TROUBLE_S = 20.0
_ONE_BY_ONE = 8
_log = logging.getLogger("headrace.executor")


class Arrived(NamedTuple):
    """``load``: unpickles what came with the outcome."""

    name: Name
    outcome: Outcome
    load: Callable[[], Any]


class Watch:
    """``calls``: the folder of calls. ``door``: the calling thread's way to the engine.

    ``patience_s``: how long a result may take to be seen here after its run has ended; a network
    file system shows what another host has written a while later.
    """

    def __init__(self, calls: Path, door: Callable[[], Door], *, patience_s: float) -> None:
        self._folder = outcomes_folder(calls)
        self._door = door
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._open: dict[int, Job[Any]] = {}
        self._undelivered: set[int] = set()
        self._thread: threading.Thread | None = None
        self._fresh: list[int] = []
        self._seen: set[str] = set()
        self._arrived: dict[int, dict[int, dict[int, Arrived]]] = defaultdict(dict)
        self._states: dict[str, State] = {}
        self._over_since_s: dict[int, float] = {}
        self._troubled = False
        self.looks = 0

    def add(self, jobs: Iterable[Job[Any]]) -> None:
        """Their results may be there already, and may have been seen already."""
        with self._changed:
            added = {job.number: job for job in jobs}
            self._open |= added
            self._undelivered |= set(added)
            self._fresh.extend(added)
            if self._thread is None and self._open:
                self._thread = threading.Thread(
                    target=self._work, name="headrace-results", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()

    def again(self, jobs: Sequence[Job[Any]]) -> None:
        """As ``add``, where results may have been there for long."""
        with self._changed:
            self._seen.clear()
        self.add(jobs)

    def open_jobs(self) -> list[Job[Any]]:
        with self._changed:
            return list(self._open.values())

    def undelivered(self) -> int:
        """How many jobs so far have not got their values."""
        with self._changed:
            return len(self._undelivered)

    def rest(self) -> None:
        """Wait until no more files are looked at, which is soon once no job is open."""
        with self._changed:
            thread = self._thread
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def state_of(self, job: Job[Any]) -> State:
        return self._states.get(job.job_id, State.PENDING)

    def cancel_all(self, jobs: Iterable[Job[Any]], *, now: bool) -> None:
        """A family at a time. ``now``: those that run do not save first."""
        families: dict[str, list[Job[Any]]] = defaultdict(list)
        for job in jobs:
            families[job.family].append(job)
        for family, members in families.items():
            ended = {
                one.id
                for one in self._door().cancel(family, now=now)
                if one.state.is_final and one.state is not State.CANCELLED
            }
            for job in members:
                if job.job_id not in ended:
                    job.become_cancelled()

    def cancel(self, job: Job[Any]) -> bool:
        acted = self._door().cancel(job.job_id, now=False)
        return all(one.state is State.CANCELLED or not one.state.is_final for one in acted)

    # --- the thread ---------------------------------------------------------------------------

    def _work(self) -> None:
        """Until no job is open."""
        pause_s, look_at_s = _PAUSE_MIN_S, time.monotonic() + _FIRST_LOOK_S
        while True:
            with self._changed:
                self._open = {n: job for n, job in self._open.items() if not job.done()}
                if not self._open:
                    self._thread = None
                    return
            begin_s = time.monotonic()
            try:
                found = self._take_outcomes()
                if begin_s >= look_at_s:
                    self._look()
                    took_s = time.monotonic() - begin_s
                    look_at_s = time.monotonic() + max(_LOOK_S, _COSTS * took_s)
                self._troubled = False
            except Exception as error:  # whoever waits for a result must not wait for ever
                found = False
                look_at_s = time.monotonic() + _TROUBLE_S
                if not self._troubled:
                    _log.warning("results cannot be seen now; they are looked for again: %s", error)
                self._troubled = True
            pause_s = _PAUSE_MIN_S if found else min(_PAUSE_MAX_S, pause_s * 1.3)
            with self._changed:
                if self._changed.wait(pause_s):
                    pause_s = _PAUSE_MIN_S

    # --- results ------------------------------------------------------------------------------

    def _take_outcomes(self) -> bool:
        """Whether there was something new."""
        self.looks += 1
        refresh(self._folder)
        with self._changed:
            early, self._fresh = [n for n in self._fresh if n in self._arrived], []
        for number in early:
            for attempt in list(self._arrived[number].values()):
                self._judge(attempt)
        new = sorted(set(os.listdir(self._folder)) - self._seen)
        for text in new:
            if (name := parse_name(text)) is not None:
                attempt = self._arrived[name.number].setdefault(name.attempt, {})
                attempt[name.rank] = _read(self._folder / text, name)
                self._judge(attempt)
            self._seen.add(text)
        return bool(new or early)

    def _judge(self, attempt: dict[int, Arrived]) -> None:
        """Settle its job, if that needs no more outcomes."""
        name = next(iter(attempt.values())).name
        with self._changed:
            job = self._open.get(name.number)
        if job is None:
            return
        failed = any(one.outcome.kind != "value" for one in attempt.values())
        if job.error_is_final if failed else len(attempt) == name.ranks:
            self._settle(job, attempt)

    def _settle(self, job: Job[Any], attempt: dict[int, Arrived]) -> None:
        """With the value of all ranks, or the error of the first of them that has one."""
        ordered = [attempt[rank] for rank in sorted(attempt)]
        bad = next((one for one in ordered if one.outcome.kind != "value"), None)
        if bad is not None:
            job.become_error(_error(job.job_id, bad.outcome, bad.load))
        else:
            try:
                values = [one.load() for one in ordered]
            except BaseException as error:  # unpickling runs anybody's code
                why = f"unpickling it raised {type(error).__name__}: {error}"
                job.become_error(ResultUnreadable(job.job_id, why))
            else:
                job.become_values(values)
                with self._changed:
                    self._undelivered -= set() if job.cancelled() else {job.number}
        self._forget(job)

    def _forget(self, job: Job[Any]) -> None:
        self._arrived.pop(job.number, None)
        self._over_since_s.pop(job.number, None)
        with self._changed:
            self._open.pop(job.number, None)

    # --- runs that end without a result -------------------------------------------------------

    def _look(self) -> None:
        waiting, door = self.open_jobs(), self._door()
        going = {row.id: row for row in door.runs(ended=False)}
        self._states |= {row.id: row.state for row in going.values()}
        missing = [job for job in waiting if job.job_id not in going]
        if not missing:
            return
        rows = _rows_of(door, missing)
        self._take_outcomes()  # what a run has written before its end is to be seen first
        for job in missing:
            row = rows.get(job.job_id)
            if row is not None and not row.state.is_final:
                continue
            since_s = self._over_since_s.setdefault(job.number, time.monotonic())
            if not job.done() and time.monotonic() - since_s >= self._patience_s:
                self._lose(job, row)

    def _lose(self, job: Job[Any], row: RunRow | None) -> None:
        attempts = self._arrived.get(job.number, {})
        last = attempts[max(attempts)] if attempts else {}
        if any(one.outcome.kind != "value" for one in last.values()):
            self._settle(job, last)
            return
        state = State.UNKNOWN if row is None else row.state
        reason = "its run directory is gone" if row is None else row.reason
        kind = RunCancelled if state is State.CANCELLED else RunLost
        job.become_error(kind(job.job_id, state, reason, log_tail(job.run_dir)))
        self._forget(job)


def _rows_of(door: Door, jobs: Sequence[Job[Any]]) -> dict[str, RunRow]:
    """Few questions: one a family, or one for all that has ever been."""
    families = dict.fromkeys(job.family for job in jobs)
    if len(families) > _ONE_BY_ONE:
        return {row.id: row for row in door.runs(ended=True)}
    found: dict[str, RunRow] = {}
    for family in families:
        with contextlib.suppress(NotFound):
            found |= {row.id: row for row in door.find(family)}
    return found


def _read(path: Path, name: Name) -> Arrived:
    """Raise ``OSError``: it is read again then."""
    try:
        return Arrived(name, *read_outcome(path))
    except DecodeError as error:
        damaged = Outcome(kind="lost", summary=f"{path} is damaged: {error}")
        return Arrived(name, damaged, lambda: None)


def _error(job_id: str, outcome: Outcome, load: Callable[[], Any]) -> BaseException:
    if outcome.kind == "lost":
        return ResultUnreadable(job_id, outcome.summary)
    if outcome.pickled:
        with contextlib.suppress(Exception):  # its class cannot be had here, say
            error = load()
            if isinstance(error, BaseException):
                return RemoteTraceback.under(error, outcome.text)
    return FunctionRaised(job_id, outcome.summary, outcome.text)
