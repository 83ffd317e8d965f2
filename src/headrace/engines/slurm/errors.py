"""What can go wrong between Headrace and Slurm."""

from collections.abc import Sequence

from headrace.core.errors import Refused, Unreachable
from headrace.schedule.request import Request, describe


class SlurmUnreachable(Unreachable):
    """A command of Slurm could not be run, or its controller gave no answer."""

    code = "HR-SLURM-001"

    def __init__(self, argv: Sequence[str], why: str) -> None:
        super().__init__(
            f"Slurm gave no answer to {' '.join(argv[:3])}",
            why=why,
            remedy="try it by hand, and again later; --engine local uses this machine instead",
        )


class SlurmRefused(Refused):
    """Slurm understood the command and will not do it."""

    code = "HR-SLURM-002"

    def __init__(self, argv: Sequence[str], said: str) -> None:
        super().__init__(
            f"Slurm refused {argv[0]}",
            why=said,
            remedy="mend what Slurm names; headrace run --dry-run shows what is sent",
        )
        self.said = said


class NotOnSlurm(Refused):
    """A job field has a value that this engine cannot honour."""

    code = "HR-SLURM-003"

    def __init__(self, field: str, value: str, *, why: str, remedy: str) -> None:
        super().__init__(f"{field}: {value} is not possible on Slurm", why=why, remedy=remedy)
        self.field = field
        self.value = value


class ArrayTooLarge(Refused):
    """The cluster has a limit on arrays."""

    code = "HR-SLURM-004"

    def __init__(self, highest: int, limit: int) -> None:
        super().__init__(
            f"the array goes up to element {highest}",
            why=f"MaxArraySize of this cluster is {limit}, so its last element is {limit - 1}",
            remedy=f"submit it in parts of at most {limit} elements that count from 0, or ask an "
            "admin for a larger MaxArraySize",
        )
        self.limit = limit


class UnknownPartition(Refused):
    """The cluster has no partition of that name."""

    code = "HR-SLURM-006"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(
            f"there is no partition {name}",
            why=f"this cluster has {', '.join(known)}",
            remedy="name one of them with --partition or partition:, or leave it out for the "
            "default one",
        )


class NeverFits(Refused):
    """The run is larger than any of its partitions."""

    code = "HR-SLURM-007"

    def __init__(
        self, request: Request, problems: Sequence[tuple[str, str]], larger: Sequence[str]
    ) -> None:
        """``problems``: (partition, why it is too small). ``larger``: others that are not."""
        super().__init__(
            f"the run asks for {describe(request)}, which never fits in "
            f"{', '.join(name for name, _ in problems)}",
            why="; ".join(f"{name}: {why}" for name, why in problems),
            remedy=f"ask for partition {', '.join(larger)}, where it fits"
            if larger
            else "ask for fewer nodes, ranks, CPUs or GPUs a node, or less memory",
        )


class OtherCluster(Refused):
    """Another cluster took the job, whose queue is not the one that is looked at."""

    code = "HR-SLURM-008"

    def __init__(self, job_id: str, cluster: str, ours: str, *, cancelled: bool) -> None:
        by_hand = f"scancel --clusters={cluster} {job_id}"
        super().__init__(
            f"cluster {cluster} took the job, not {ours}",
            why=f"its job {job_id} "
            + ("was cancelled again" if cancelled else f"is still there; end it with {by_hand}"),
            remedy=f"leave clusters out of slurm.sbatch; SLURM_CLUSTERS={cluster} before headrace "
            "makes all commands mean that cluster",
        )


class NotDone(Refused):
    """What was asked cannot be done with this run as it is."""

    code = "HR-SLURM-005"
