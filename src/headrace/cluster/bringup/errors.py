"""What can go wrong with a virtual cluster, or with the description of a real one."""

from collections.abc import Sequence
from pathlib import Path

from headrace.core.errors import HeadraceError, NotFound, Refused, Unreachable, UsageError


class RootNeeded(Refused):
    """Namespaces, cables and daemons of other users are root's to make."""

    code = "HR-CLUSTER-001"

    def __init__(self, verb: str, uid: int) -> None:
        super().__init__(
            f"headrace cluster {verb} was started by uid {uid}, not by root",
            why="it makes namespaces, network links and daemons that serve every user",
            remedy=f"sudo headrace cluster {verb}",
        )


class PackagesMissing(Refused):
    code = "HR-CLUSTER-002"

    def __init__(self, programs: Sequence[str], packages: Sequence[str]) -> None:
        super().__init__(
            f"not installed: {', '.join(programs)}",
            why="the virtual cluster runs the real daemons of Slurm, munge and MariaDB",
            remedy="headrace cluster up --install, or: apt-get install --no-install-recommends "
            + " ".join(packages),
        )


class ClusterExists(Refused):
    code = "HR-CLUSTER-003"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"there is a virtual cluster already: {what}",
            why="a machine has at most one",
            remedy="headrace cluster down",
        )


class NoCluster(NotFound):
    code = "HR-CLUSTER-004"

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"there is no virtual cluster in {folder}",
            why="none was brought up, or it was taken down",
            remedy="headrace cluster up --virtual 2",
        )


class DaemonSilent(Unreachable):
    """A daemon did not come up in time. The end of its log is part of the message."""

    code = "HR-CLUSTER-005"

    def __init__(self, what: str, waited_s: float, log: Path, tail: str) -> None:
        super().__init__(
            f"{what} did not answer in {waited_s:.0f} s",
            why=f"{log} ends:\n" + "\n".join(f"    {line}" for line in tail.splitlines()),
            remedy="mend what the log says, then: headrace cluster down, and up again",
        )


class NoSuchNode(NotFound):
    code = "HR-CLUSTER-006"

    def __init__(self, name: str, nodes: Sequence[str]) -> None:
        super().__init__(
            f"the cluster has no node {name}",
            why=f"it has {', '.join(nodes)}",
            remedy="name one of these",
        )


class LeftBehind(HeadraceError):
    """``down`` could not remove everything."""

    code = "HR-CLUSTER-007"

    def __init__(self, what: Sequence[str]) -> None:
        super().__init__(
            f"still there: {'; '.join(what)}",
            why="something holds it that is not the cluster's",
            remedy="end what holds it, then: headrace cluster down",
        )


class SiteUnreadable(UsageError):
    """The description of a real cluster cannot be used."""

    code = "HR-CLUSTER-008"

    def __init__(self, path: Path, why: str, remedy: str) -> None:
        super().__init__(f"{path} cannot be used", why=why, remedy=remedy)


class PartitionInvalid(UsageError):
    code = "HR-CLUSTER-009"

    def __init__(self, word: str, rule: str) -> None:
        super().__init__(
            f'--partitions: "{word}"',
            why=rule,
            remedy="--partitions main,short=1-2@10:00 (NAME[=NODES][@TIME])",
        )


class RequestInvalid(UsageError):
    """A flag of ``up`` has a value that no cluster here can have."""

    code = "HR-CLUSTER-010"

    def __init__(self, flag: str, value: object, rule: str, remedy: str) -> None:
        super().__init__(f"{flag} {value}", why=rule, remedy=remedy)


class PlanDamaged(HeadraceError):
    """The file that says what was made cannot be read: half written, or another version's."""

    code = "HR-CLUSTER-011"

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} does not say what the virtual cluster is made of",
            why=why,
            remedy="headrace cluster down finds the cluster by its marks; if it says the same, none"
            f" is left: look into {path.parent}, and remove it",
        )
