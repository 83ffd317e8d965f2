"""One squeue for all runs of a user, shared by all commands of this host through a file.

Whoever finds the answer stale asks again and writes it down; who finds somebody else asking takes
the old one. An answer is fresh for 12 s, or for twenty times as long as the last one took to come,
so that a slow controller is asked less; after a failure the wait doubles up to five minutes. squeue
asks the controller twice, for jobs and for partitions, so that makes less than one call in 5 s.
What a run says in its own files is seen at once all the same.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from headrace.core.records import DecodeError, Record, read_record, replace, write_record
from headrace.engines.slurm import commands
from headrace.engines.slurm.call import Call
from headrace.engines.slurm.errors import SlurmUnreachable
from headrace.engines.slurm.rows import QueueRow, parse_queue

FRESH_S = 12.0
_COSTS = 20.0
_AFTER_ACTS_S = 1.0
_BACK_OFF_MAX_S = 300.0


class Poll(Record, frozen=True, kw_only=True):
    """``asked_s``: when the question was asked. ``fresh_s``: for how long the answer is good.

    ``problem``: why the last try failed; the rows are older then.
    """

    asked_s: float = 0.0
    fresh_s: float = 0.0
    tried_s: float = 0.0
    rows: tuple[QueueRow, ...] = ()
    problem: str | None = None


class Poller:
    """``path``: a file on a local disk."""

    def __init__(
        self,
        path: Path,
        user: str,
        call: Call,
        *,
        now_s: Callable[[], float] = time.time,
        fresh_s: float = FRESH_S,
    ) -> None:
        self._path = path
        self._user = user
        self._call = call
        self.now_s = now_s
        self._fresh_s = fresh_s

    def poll(self) -> Poll:
        """Raise ``SlurmUnreachable`` when there has never been an answer."""
        known = self._read()
        if not self._is_stale(known):
            return self._usable(known)
        with self._turn() as ours:
            known = self._read()
            if not ours or not self._is_stale(known):
                return self._usable(known) if known.asked_s or known.problem else self._ask(known)
            return self._ask(known)

    def forget(self) -> None:
        """Something was done that changes the answer: ask again, once a second at most."""
        known = self._read()
        if known.asked_s:
            self._write(replace(known, fresh_s=min(known.fresh_s, _AFTER_ACTS_S)))

    def _ask(self, known: Poll) -> Poll:
        begin_s, argv = self.now_s(), commands.squeue(self._user)
        try:
            rows = tuple(parse_queue(self._call(argv)))
        except SlurmUnreachable as error:
            waited_s = max(self._fresh_s, min(_BACK_OFF_MAX_S, 2 * known.fresh_s))
            known = Poll(
                asked_s=known.asked_s,
                fresh_s=waited_s,
                tried_s=begin_s,
                rows=known.rows,
                problem=error.why,
            )
            self._write(known)
            return self._usable(known)
        took_s = self.now_s() - begin_s
        fresh = Poll(
            asked_s=begin_s,
            fresh_s=max(self._fresh_s, _COSTS * took_s),
            tried_s=begin_s,
            rows=rows,
        )
        self._write(fresh)
        return fresh

    def _usable(self, known: Poll) -> Poll:
        if not known.asked_s:
            why = known.problem or "another command is asking; try again"
            raise SlurmUnreachable(commands.squeue(self._user), why)
        return known

    def _is_stale(self, known: Poll) -> bool:
        return not 0 <= self.now_s() - known.tried_s < known.fresh_s

    def _read(self) -> Poll:
        try:
            return read_record(self._path, Poll)
        except (OSError, DecodeError):
            return Poll()

    def _write(self, poll: Poll) -> None:
        write_record(self._path, poll, mode=0o600)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[bool]:
        """Whether it is ours to ask. The kernel gives the turn back when we die."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(
            self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
        finally:
            os.close(lock)
