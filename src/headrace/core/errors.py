"""Every error a user can meet, as one tree.

    HeadraceError                what went wrong, why, what to type; a code; an exit status
    +-- UsageError               the request itself is wrong                        exit 2
    +-- NotFound                 no such run, file, checkpoint                      exit 3
    +-- Refused                  understood, but not allowed or does not fit        exit 4
    +-- Unreachable              a daemon, node or scheduler does not answer        exit 5

Each room derives its own errors in its own ``errors.py`` or beside the code that raises them; each
concrete class sets ``code`` and has an anchor of that name in ``docs/errors.md`` (a test compares).
The command line prints three lines::

    error HR-SPEC-003: job.yaml:3: nodes: "8-2" is not a node count
      why: the smaller number comes first
      fix: nodes: 2-8
"""

from typing import ClassVar


class HeadraceError(Exception):
    """Problem, reason, remedy. Texts are for people; attributes are for programs."""

    code: ClassVar[str] = "HR-CORE-000"
    exit_status: ClassVar[int] = 1

    def __init__(self, problem: str, *, why: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        return f"error {self.code}: {self.problem}\n  why: {self.why}\n  fix: {self.remedy}"


class UsageError(HeadraceError):
    """The request itself is wrong."""

    exit_status = 2


class NotFound(HeadraceError):
    """No such run, file or checkpoint."""

    exit_status = 3


class Refused(HeadraceError):
    """Understood, but not allowed here, or it does not fit."""

    exit_status = 4


class Unreachable(HeadraceError):
    """A daemon, node or scheduler does not answer."""

    exit_status = 5


EXIT_NODE_LOST = 75  # a lead: this place is no good any more, the run could go on in another
EXIT_TIMEOUT = 124
EXIT_INTERRUPTED = 130
