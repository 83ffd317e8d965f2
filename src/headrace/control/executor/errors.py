"""What can go wrong with a function that runs elsewhere."""

import difflib
from collections.abc import Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Self

from headrace.core.errors import HeadraceError, NotFound, Refused, UsageError
from headrace.core.states import State
from headrace.launch.calls import Unpicklable

_SUGGESTED = 3


class ParameterUnknown(UsageError):
    """``Executor`` or ``update_parameters`` was given a name that means nothing."""

    code = "HR-EXECUTOR-001"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        near = difflib.get_close_matches(name, known, n=_SUGGESTED, cutoff=0.5)
        super().__init__(
            f'there is no parameter "{name}"',
            why=f"known are {', '.join(known)}",
            remedy=f"write {' or '.join(near)}" if near else "use one of them, or leave it out",
        )


class ParameterNotHonoured(Refused):
    """A parameter of submitit's that cannot be honoured."""

    code = "HR-EXECUTOR-002"

    def __init__(self, name: str, *, why: str, remedy: str) -> None:
        super().__init__(f"{name} is not honoured", why=why, remedy=remedy)


class NotPicklable(UsageError):
    """The function or an argument cannot be sent to another process."""

    code = "HR-EXECUTOR-003"

    def __init__(self, found: Unpicklable, calls: int) -> None:
        where = f" of call {found.index}" if calls > 1 else ""
        super().__init__(
            f"{found.what}{where} cannot be pickled",
            why=found.why,
            remedy="pass what it is made from, such as a path, and make it in the function",
        )


class ResultUnreadable(HeadraceError):
    """The function ended well, but its result cannot be had in this process."""

    code = "HR-EXECUTOR-004"

    def __init__(self, job_id: str, why: str) -> None:
        super().__init__(
            f"the result of {job_id} cannot be read here",
            why=why,
            remedy="return plain data, or a path to a file that the function has written",
        )


class FunctionRaised(HeadraceError):
    """The function raised what cannot be brought here; ``text`` is the traceback there."""

    code = "HR-EXECUTOR-005"

    def __init__(self, job_id: str, summary: str, text: str) -> None:
        super().__init__(
            f"the function of {job_id} raised {summary}",
            why="the exception itself cannot be unpickled here; this is what was printed there:\n"
            + text.rstrip(),
            remedy=f"headrace logs {job_id}",
        )
        self.text = text


class RunLost(HeadraceError):
    """The run ended before the function could return: ``state`` says how."""

    code = "HR-EXECUTOR-006"

    def __init__(self, job_id: str, state: State, reason: str, tail: Sequence[str]) -> None:
        remedies = {
            State.TIMEOUT: "give it more time, or the callable a method checkpoint that saves",
            State.OUT_OF_MEMORY: "give it more memory: memory=... or mem_gb=...",
            State.NODE_FAIL: "submit it again; restart={...} says how often a lost node is made up",
        }
        said = "".join(f"\n    {line}" for line in tail)
        super().__init__(
            f"{job_id} ended {state} before its function returned",
            why=(reason or "nobody knows why") + (f"; its log ends:{said}" if said else ""),
            remedy=remedies.get(state, f"headrace logs {job_id}"),
        )
        self.job_id = job_id
        self.state = state

    def __reduce__(self) -> tuple[object, ...]:
        return _lost_again, (type(self), self.args, self.__dict__)


class RunCancelled(RunLost, CancelledError):
    """Somebody cancelled the run; its own ``Job.cancel`` gives ``CancelledError`` alone."""

    code = "HR-EXECUTOR-007"


def _lost_again(kind: type[RunLost], args: tuple[object, ...], state: dict[str, object]) -> RunLost:
    made: RunLost = kind.__new__(kind, *args)
    made.__dict__.update(state)
    return made


class NotSubmitted(UsageError):
    """A job of a batch was asked something before the batch was submitted."""

    code = "HR-EXECUTOR-008"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the job has no {what} yet",
            why="the jobs of executor.batch() are submitted together when its block ends",
            remedy=f"ask for {what} after the block",
        )


class SeveralResults(UsageError):
    """``result()`` of a job with several ranks."""

    code = "HR-EXECUTOR-009"

    def __init__(self, job_id: str, ranks: int) -> None:
        super().__init__(
            f"{job_id} has {ranks} results",
            why="each of its ranks calls the function",
            remedy="job.results() gives them all, by rank",
        )


class ResultsGone(NotFound):
    """``attach`` to a run whose executor has given out all results and removed their folder."""

    code = "HR-EXECUTOR-010"

    def __init__(self, job_id: str, folder: Path) -> None:
        super().__init__(
            f"the results of {job_id} are gone",
            why=f"{folder} was removed: its executor had handed out all results when it was shut "
            "down",
            remedy="Executor(keep=True) keeps them; what the run has printed is in headrace logs "
            + job_id,
        )


class RemoteTraceback(Exception):
    """The cause of an exception that was raised elsewhere: shows where, there."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'

    @classmethod
    def under(cls, error: BaseException, text: str) -> BaseException:
        """``error`` with this as its cause."""
        error.__cause__ = cls(text)
        return error

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (self.text,)
