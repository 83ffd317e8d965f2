"""From a job description to what is asked of a cluster, and what it refuses. Pure."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.core.process import Process
from headrace.core.records import replace
from headrace.core.units import format_duration
from headrace.engines.contract import Caller
from headrace.engines.local.submission import Element, Submission
from headrace.engines.slurm import grace
from headrace.engines.slurm.errors import ArrayTooLarge, NotOnSlurm
from headrace.engines.slurm.facts import Facts
from headrace.engines.slurm.room import time_notes
from headrace.schedule.request import Request
from headrace.spec.family import element_spec, expand
from headrace.spec.image import is_enroots, refusal_of
from headrace.spec.write import to_yaml

if TYPE_CHECKING:
    from headrace.spec.job import JobSpec

REFUSED_FIELDS = ("image: docker://...", "framework")
_FRAMEWORKS = ("torch", "mpi", "none")


def require_possible(spec: "JobSpec", facts: Facts) -> None:
    """Raise ``NotOnSlurm`` or ``ArrayTooLarge`` for the first thing that cannot be honoured."""
    refusal = refusal_of(spec)
    if spec.image is not None and refusal is not None:
        raise NotOnSlurm("image", spec.image, why=refusal.why, remedy=refusal.remedy)
    if spec.stage_python is not None:
        _require_own_python(spec, spec.stage_python)
    if spec.framework not in _FRAMEWORKS:
        raise NotOnSlurm(
            "framework",
            spec.framework,
            why="torch, MPI and plain programs are started here",
            remedy="framework: none, or a batch script with the srun that starts the ranks",
        )
    highest = max(indices_of(spec), default=-1)
    if highest >= facts.max_array_size:
        raise ArrayTooLarge(highest, facts.max_array_size)


def _require_own_python(spec: "JobSpec", tier: str) -> None:
    field = "stage_python"
    if spec.image is not None:
        why, remedy = "the Python of an image is in its one file already", f"remove {field}"
        raise NotOnSlurm(field, tier, why=why, remedy=remedy)
    if spec.script_semantics or spec.framework == "mpi":
        why = "srun starts these ranks itself, on nodes where nothing of ours unpacks a copy"
        remedy = f"remove {field}, or name the program by run: in place of a script or mpi"
        raise NotOnSlurm(field, tier, why=why, remedy=remedy)


def needs_pyxis(spec: "JobSpec") -> bool:
    return spec.framework == "mpi" and is_enroots(spec)


def require_pyxis(spec: "JobSpec", help_of_srun: str) -> None:
    """Raise ``NotOnSlurm``. What a plugin adds to srun stands in its help."""
    if "--container-image" not in help_of_srun:
        raise NotOnSlurm(
            "image",
            str(spec.image),
            why="MPI ranks of an enroot image are started by pyxis, and srun has no "
            "--container-image here",
            remedy="an image of Apptainer's, such as model.sif, or ask an admin for pyxis",
        )


def indices_of(spec: "JobSpec") -> tuple[int, ...]:
    """Elements of the array or sweep; none for a single run."""
    return tuple(element.index for element in expand(spec))


def notes_on(
    spec: "JobSpec", facts: Facts, times: grace.Times = grace.NEVER_MEASURED
) -> tuple[str, ...]:
    """What is fine, but should be said before the run waits for hours. ``times``: of earlier runs
    of its name."""
    notes = list(spec.notes)
    place = facts.partition(spec.partition)
    if spec.time_s is None:
        limit_s = place and (place.default_time_s or place.max_time_s)
        given = format_duration(int(limit_s)) if limit_s else "no end"
        notes.append(
            f"no time is set; the partition gives it {given}, and a shorter time may start sooner"
        )
    a_part = facts.default_memory or (place is not None and place.default_memory)
    if spec.memory_bytes is None and not a_part:
        notes.append("no memory is set; this cluster then gives a run all memory of its nodes")
    notes.extend(time_notes(spec, facts))
    if spec.priority > 0:
        notes.append("priority above 0 is for admins on Slurm; give other runs one below 0")
    return (*notes, *contract_of(spec, facts, times).warnings)


def contract_of(
    spec: "JobSpec", facts: Facts, times: grace.Times = grace.NEVER_MEASURED
) -> grace.Grace:
    """What the site gives a run that is preempted, and what it needs."""
    return grace.check(
        facts,
        spec.partition,
        spec.qos,
        times=times,
        asked_s=spec.checkpoint.grace_s,
        may_requeue=spec.restart.max > 0,
    )


def as_handed_over(
    elements: Iterable[Element], *, given_s: float, submitter: Process | None
) -> list[Element]:
    """``given_s``: what preempted runs are given here. ``submitter``: who hands them to Slurm."""
    return [
        replace(one, submission=replace(one.submission, given_s=given_s, submitter=submitter))
        for one in elements
    ]


def elements_of(
    spec: "JobSpec",
    request: Request,
    number: int,
    *,
    host: str,
    who: Caller,
    runs: Path,
    token: str,
    now_s: float,
) -> list[Element]:
    """Ids are ``<name>-<number>``, for elements of an array or a sweep ``<name>-<number>_<i>``."""
    family = f"{spec.name}-{number}"
    return [
        Element(
            submission=Submission(
                engine="slurm",
                host=host,
                run_id=family if index is None else f"{family}_{index}",
                number=number,
                name=spec.name,
                user=who.name,
                token=token,
                submitted_s=now_s,
                priority=spec.priority,
                request=request,
                array_id=None if index is None else family,
                array_index=index,
                array_throttle=spec.array.throttle if spec.array else None,
                restarts_max=spec.restart.max,
                restart_on=tuple(spec.restart.on),
                limit_s=spec.time_s,
                account=spec.account or "",
                qos=spec.qos or "",
                partitions=tuple(spec.partition.split(",")) if spec.partition else (),
                constraint=spec.constraint,
                reservation=spec.reservation,
                uid=who.uid,
                runs=str(runs),
            ),
            job=text,
        )
        for index, text in _members(spec)
    ]


def _members(spec: "JobSpec") -> Iterator[tuple[int | None, str]]:
    """Index and job.yaml of each; of an array all have the same."""
    elements = expand(spec)
    if not elements:
        yield None, to_yaml(spec)
    elif not spec.sweep:
        text = to_yaml(element_spec(spec, elements[0]))
        yield from ((element.index, text) for element in elements)
    else:
        yield from ((one.index, to_yaml(element_spec(spec, one))) for one in elements)
