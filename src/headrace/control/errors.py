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


class RootOnly(Refused):
    """Only root can start runs as their users."""

    code = "HR-CONTROL-008"

    def __init__(self, uid: int) -> None:
        super().__init__(
            f"user {uid} cannot start the machine's daemon",
            why="it starts each run as the user who submitted it, and only root can do that",
            remedy="sudo headrace daemon start --system; or without --system, one of your own",
        )


class OutOfReach(Refused):
    """Runs of other users could not even start."""

    code = "HR-CONTROL-009"

    def __init__(self, path: Path, folder: Path) -> None:
        super().__init__(
            f"{path} is not for every user to read",
            why=f"{folder} is closed to others, and every run needs it",
            remedy="install Headrace and its Python where all users may read, as in /opt",
        )


class MachineDaemonGone(Unreachable):
    """The machine's daemon does not answer."""

    code = "HR-CONTROL-010"

    def __init__(self, path: Path) -> None:
        super().__init__(
            "the machine's daemon does not answer",
            why=f"nobody listens at {path}",
            remedy="ask an admin; with HEADRACE_DAEMON=own you get a queue of your own",
        )


class Impostor(Refused):
    """Who listens where the machine's daemon should is not root."""

    code = "HR-CONTROL-011"

    def __init__(self, path: Path, uid: int) -> None:
        super().__init__(
            f"user {uid} listens at {path}",
            why="the machine's daemon is root's; this one would get your environment",
            remedy="tell an admin; HEADRACE_DAEMON=own keeps away from it",
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
