"""A submitted call: a ``concurrent.futures.Future`` whose result comes from a run."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from typing import Protocol, TypeVar

from headrace.control.executor.errors import NotSubmitted, RunLost, SeveralResults
from headrace.core.errors import HeadraceError
from headrace.core.rundir import RunDir
from headrace.core.states import State

T = TypeVar("T")
_TAIL_BYTES = 1 << 16
_TAIL_LINES = 10


class Owner(Protocol):
    """What a job asks of who watches it."""

    def state_of(self, job: "Job[T]") -> State: ...

    def cancel(self, job: "Job[T]") -> bool:
        """Whether the run is or will be cancelled."""
        ...


class Job(Future[T]):
    """One call, made by each rank of its run. The run lives on when this process ends."""

    def __init__(self, owner: Owner) -> None:
        super().__init__()
        self._owner = owner
        self._id: str | None = None
        self._folder: Path | None = None
        self._values: list[T] = []
        self.number = -1
        self.family = ""
        self.error_is_final = True

    def submitted(self, run_id: str, run_dir: Path, *, family: str, number: int) -> None:
        """It has become a run. ``number``: of the call, in its folder of calls."""
        self._id, self._folder, self.family, self.number = run_id, run_dir, family, number

    # --- what can be asked --------------------------------------------------------------------

    @property
    def job_id(self) -> str:
        """The run's id, as ``headrace status`` takes it. Raise ``NotSubmitted``."""
        if self._id is None:
            raise NotSubmitted("job_id")
        return self._id

    @property
    def run_dir(self) -> Path:
        """Raise ``NotSubmitted``."""
        if self._folder is None:
            raise NotSubmitted("run_dir")
        return self._folder

    @property
    def state(self) -> str:
        """PENDING, RUNNING, COMPLETED, ...: as of the last look, which is seconds old at most."""
        if self.cancelled():
            return State.CANCELLED
        if not self.done():
            return State.PENDING if self._id is None else self._owner.state_of(self)
        error = super().exception(timeout=0)
        if error is None:
            return State.COMPLETED
        return error.state if isinstance(error, RunLost) else State.FAILED

    def running(self) -> bool:
        return not self.done() and self.state == State.RUNNING

    def result(self, timeout: float | None = None) -> T:
        """What the function returned; what it raised is raised, with the traceback there as its
        cause. Raise ``RunLost`` when the run ended before that, ``SeveralResults`` when it has more
        ranks than one, ``TimeoutError`` after ``timeout`` seconds."""
        value = super().result(timeout)
        if len(self._values) > 1:
            raise SeveralResults(self.job_id, len(self._values))
        return value

    def results(self, timeout: float | None = None) -> list[T]:
        """What the function returned on each rank, by rank. Raise as ``result``."""
        super().result(timeout)
        return list(self._values)

    def wait(self, timeout: float | None = None) -> None:
        """Until it is done, however it ends, or for ``timeout`` seconds."""
        if not self.cancelled():
            with contextlib.suppress(NotYet):
                super().exception(timeout)

    def cancel(self, check: bool = True) -> bool:
        """Have the run leave the queue, or stop if it runs. False when it has ended.

        ``check``: raise ``HeadraceError`` when the engine cannot be asked, else answer False.
        """
        if self.done():
            return self.cancelled()
        try:
            told = self._id is None or self._owner.cancel(self)
        except HeadraceError:
            if check:
                raise
            return False
        return told and self.become_cancelled()

    def stdout(self) -> str | None:
        """What all ranks have printed so far, in all attempts; None before there is a log."""
        return self._printed(b"o")

    def stderr(self) -> str | None:
        return self._printed(b"e")

    def _printed(self, stream: bytes) -> str | None:
        found = [path.read_bytes() for path in logs_of(self.run_dir)]
        if not found:
            return None
        lines = [_parse(line) for data in found for line in data.splitlines(keepends=True)]
        text = b"".join(text for which, text in lines if which == stream)
        return text.decode(errors="replace")

    def __repr__(self) -> str:
        return f'Job(job_id={self._id or "none yet"}, state="{self.state}")'

    # --- what becomes of it -------------------------------------------------------------------

    def become_values(self, values: list[T]) -> None:
        """One of each rank."""
        self._values = values
        with contextlib.suppress(InvalidStateError):  # it was cancelled meanwhile
            self.set_result(values[0])

    def become_error(self, error: BaseException) -> None:
        with contextlib.suppress(InvalidStateError):
            self.set_exception(error)

    def become_cancelled(self) -> bool:
        if not super().cancel():
            return False
        with contextlib.suppress(Exception):  # another thread has told them
            self.set_running_or_notify_cancel()
        return True


def logs_of(run_dir: Path) -> Iterator[Path]:
    """By attempt, by node."""
    run = RunDir(run_dir)
    for number in run.attempts():
        yield from sorted(run.attempt(number).glob("nodes/*/log"))


def _parse(line: bytes) -> tuple[bytes, bytes]:
    """Stream and text of a line ``<rank> <o|e> <text>``."""
    _, _, rest = line.partition(b" ")
    return rest[:1], rest[2:]


def log_tail(run_dir: Path) -> list[str]:
    """The last lines that the run has left: of its ranks, else of what was to start them."""
    with contextlib.suppress(OSError):
        for path in reversed(list(logs_of(run_dir))):
            if lines := [_parse(line)[1] for line in _end_of(path)]:
                return [line.decode(errors="replace") for line in lines]
    for name in ("lead.log", "batch.log"):
        with contextlib.suppress(OSError):
            if lines := _end_of(run_dir / name):
                return [line.decode(errors="replace") for line in lines]
    return []


def _end_of(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return file.read().splitlines()[-_TAIL_LINES:]
