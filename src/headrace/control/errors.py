"""What can go wrong between a command and its daemon."""

from pathlib import Path

from headrace.core.errors import HeadraceError, Refused, Unreachable


class DaemonNotStarted(Unreachable):
    """The daemon was started and did not come up."""

    code = "HR-CONTROL-001"

    def __init__(self, how: str, log: Path, tail: str) -> None:
        super().__init__(
            f"the daemon {how}",
            why=tail or "it left no word in its log",
            remedy=f"mend the cause and try again; its log is {log}",
        )


class DaemonSilent(Unreachable):
    """The daemon is there but does not answer."""

    code = "HR-CONTROL-002"

    def __init__(self, what: str, detail: str, log: Path) -> None:
        super().__init__(
            f"the daemon gave no answer to {what}",
            why=detail,
            remedy=f"try again; its log is {log}",
        )


class NotYourDaemon(Refused):
    """The caller's uid is not that of the daemon."""

    code = "HR-CONTROL-003"

    def __init__(self, caller_uid: int, owner_uid: int) -> None:
        super().__init__(
            f"user {caller_uid} may not use the daemon of user {owner_uid}",
            why="a daemon serves the user who started it, and nobody else",
            remedy="run the command as that user, or use your own daemon",
        )


class AdminsOnly(Refused):
    """The machine itself is the business of its admins."""

    code = "HR-CONTROL-007"

    def __init__(self, name: str, what: str) -> None:
        super().__init__(
            f"{name} may not {what}",
            why="root and the group that the site file names under admins may",
            remedy="ask an admin of this machine",
        )


class OtherRunsFolder(Refused):
    """The command and the daemon disagree where runs are."""

    code = "HR-CONTROL-004"

    def __init__(self, wanted: str, served: str) -> None:
        super().__init__(
            f"the daemon serves the runs in {served}, not those in {wanted}",
            why="it was started with another HEADRACE_RUNS or site file",
            remedy="headrace daemon stop, then repeat the command; runs that run go on",
        )


class RequestNotUnderstood(HeadraceError):
    """A request that this daemon cannot read, or an answer that is no answer of a daemon."""

    code = "HR-CONTROL-005"

    def __init__(self, detail: str) -> None:
        super().__init__(
            "the daemon and the command do not understand each other",
            why=detail,
            remedy="headrace daemon stop, then repeat the command: they may differ in version",
        )


class RunsServedElsewhere(Refused):
    """Another daemon of this host has the runs folder."""

    code = "HR-CONTROL-006"

    def __init__(self, runs: Path, holder: str) -> None:
        super().__init__(
            f"the runs in {runs} are served by another daemon ({holder})",
            why="two daemons would start the same runs; XDG_RUNTIME_DIR or TMPDIR differ here",
            remedy="use the same XDG_RUNTIME_DIR as there, or stop that daemon",
        )
