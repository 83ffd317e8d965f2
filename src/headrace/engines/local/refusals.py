"""What a job may ask for that this engine cannot give. Refused, never ignored."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headrace.core.errors import Refused
from headrace.engines.local.site import Site
from headrace.schedule.capacity import Capacity
from headrace.schedule.machine import spec_of
from headrace.schedule.pool import Pool, shape_of
from headrace.schedule.reason import sentence
from headrace.schedule.request import Request, describe
from headrace.schedule.shortage import never_fits
from headrace.spec.image import refusal_of

if TYPE_CHECKING:
    from headrace.spec.job import JobSpec

REFUSED_FIELDS = ("image: docker://...", "constraint", "framework", "restart.on: time")
_FRAMEWORKS = ("torch", "none")


class FieldRefused(Refused):
    """A job field has a value that the local engine cannot honour."""

    code = "HR-LOCAL-003"

    def __init__(self, field: str, value: str, *, why: str, remedy: str) -> None:
        super().__init__(
            f"{field}: {value} is not possible on this machine's own queue",
            why=why,
            remedy=remedy,
        )
        self.field = field
        self.value = value


class NeverFitsHere(Refused):
    """The run is larger than the machine."""

    code = "HR-LOCAL-004"

    def __init__(self, request: Request, why: str) -> None:
        super().__init__(
            f"the run asks for {describe(request)}, which never fits here",
            why=why,
            remedy="ask for fewer nodes, ranks, CPUs or GPUs a node, or less memory",
        )


class ResizeRefused(Refused):
    """The run did not say that it can be on so many nodes."""

    code = "HR-LOCAL-005"

    def __init__(self, run_id: str, nodes: tuple[int, int], asked: tuple[int, int]) -> None:
        super().__init__(
            f"{run_id} cannot be resized to {words(nodes)}",
            why=f"it was submitted for {words(asked)}",
            remedy="resize it within that, or submit it with nodes: MIN-MAX as wide as you need",
        )


class LimitRefused(Refused):
    """A name that is not for this user, or a limit that no wait will lift."""

    code = "HR-LOCAL-008"

    def __init__(self, why: str) -> None:
        super().__init__(
            "the run may not be submitted",
            why=why,
            remedy="ask for less, name another account, QOS or partition, or wait until runs end",
        )


def words(nodes: tuple[int, int]) -> str:
    """ "1 node", "2 nodes", "2 to 8 nodes"."""
    least, most = nodes
    if least == most:
        return "1 node" if least == 1 else f"{least} nodes"
    return f"{least} to {most} nodes"


def require_possible(spec: "JobSpec", site: Site) -> None:
    """Raise ``FieldRefused`` for the first field that cannot be honoured."""
    refusal = refusal_of(spec)
    if spec.image is not None and refusal is not None:
        raise FieldRefused("image", spec.image, why=refusal.why, remedy=refusal.remedy)
    if spec.snapshot:
        raise FieldRefused(
            "snapshot",
            "true",
            why="the daemon copies no code: who submits does, as headrace run and Executor do",
            remedy="submit by them, or a job whose workdir is a copy of your own",
        )
    if spec.account is not None and not site.accounts:
        raise FieldRefused(
            "account",
            spec.account,
            why="its site file names no accounts",
            remedy="remove account, or have the admin add it to the site file",
        )
    if spec.constraint is not None:
        raise FieldRefused(
            "constraint",
            spec.constraint,
            why="the nodes of one machine have no features to choose by",
            remedy="remove constraint",
        )
    if "time" in spec.restart.on:
        raise FieldRefused(
            "restart.on",
            "time",
            why="here a time limit is of the whole run; only on Slurm it is of each start",
            remedy="leave time out of restart.on, and give the run the time that it needs in all",
        )
    if spec.framework not in _FRAMEWORKS:
        raise FieldRefused(
            "framework",
            spec.framework,
            why="the local engine starts torch programs and plain ones",
            remedy="framework: torch, or framework: none for a program that needs no rendezvous",
        )


def require_room(request: Request, nodes: Sequence[Capacity]) -> None:
    """Raise ``NeverFitsHere`` when the empty machine is too small."""
    empty, everywhere = Pool.empty([spec_of(node) for node in nodes]), (1 << len(nodes)) - 1
    if empty.room(shape_of(request), everywhere) < request.nodes_min:
        raise NeverFitsHere(request, sentence(never_fits(request, empty, everywhere)))


def notes_on(spec: "JobSpec") -> tuple[str, ...]:
    """What is fine to leave out here, but should be said."""
    notes = list(spec.notes)
    if spec.slurm.sbatch:
        options = ", ".join(sorted(spec.slurm.sbatch))
        notes.append(f"slurm.sbatch ({options}) is for Slurm and has no meaning here")
    if spec.stage_python is not None:
        notes.append("stage_python is for Slurm; here ranks import from the environment itself")
    if spec.script_semantics and spec.nodes.max > 1:
        notes.append("a batch script runs once, on the first of its nodes, as under Slurm")
    return tuple(notes)
