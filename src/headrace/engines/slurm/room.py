"""Could this cluster ever run it? Slurm itself queues many a run for ever that it cannot. Pure.

What a QOS may lift (its flag PartitionTimeLimit lifts MaxTime) is said in a note and not refused.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from headrace.core.units import format_duration
from headrace.engines.slurm.errors import NeverFits, UnknownPartition
from headrace.engines.slurm.facts import Facts, PartitionFacts
from headrace.schedule.machine import spec_of
from headrace.schedule.pool import Pool, shape_of
from headrace.schedule.reason import sentence
from headrace.schedule.request import Request
from headrace.schedule.shortage import never_fits

if TYPE_CHECKING:
    from headrace.spec.job import JobSpec


def require_room(spec: "JobSpec", request: Request, facts: Facts) -> None:
    """Raise ``UnknownPartition``, or ``NeverFits`` when none of its partitions is large enough.

    ``slurm.sbatch`` may say otherwise and wins over the job file, so then only Slurm decides.
    """
    if spec.slurm.sbatch:
        return
    places = _places(spec, facts)
    problems = [
        (one.name, why) for one in places if (why := _too_small(one, request, facts)) is not None
    ]
    if places and len(problems) == len(places):
        larger = [
            one.name
            for one in facts.partitions
            if one not in places and _too_small(one, request, facts) is None
        ]
        raise NeverFits(request, problems, larger)


def time_notes(spec: "JobSpec", facts: Facts) -> Iterator[str]:
    """Where the time limit is over the MaxTime of all its partitions."""
    places = _places(spec, facts)
    limits_s = [one.max_time_s for one in places if one.max_time_s is not None]
    asked_s = spec.time_s
    if asked_s is None or len(limits_s) < len(places) or not limits_s or asked_s <= max(limits_s):
        return
    longer = [
        one.name
        for one in facts.partitions
        if one not in places and (one.max_time_s is None or one.max_time_s >= asked_s)
    ]
    names = ", ".join(one.name for one in places)
    other = f"; {', '.join(longer)} would give it that" if longer else ""
    yield (
        f"time is {format_duration(int(asked_s))}, but {names} gives a run at most "
        f"{format_duration(int(max(limits_s)))}: unless its QOS lifts that, it waits for ever "
        f"(PartitionTimeLimit){other}"
    )


def _places(spec: "JobSpec", facts: Facts) -> list[PartitionFacts]:
    """The partitions it may run in. Raise ``UnknownPartition``."""
    known = {one.name: one for one in facts.partitions}
    if not spec.partition:
        return [one for one in facts.partitions if one.default]
    names = spec.partition.split(",")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UnknownPartition(unknown[0], list(known))
    return [known[name] for name in names]


def _too_small(place: PartitionFacts, request: Request, facts: Facts) -> str | None:
    if place.max_nodes is not None and place.max_nodes < request.nodes_min:
        return f"a run may have at most {place.max_nodes} nodes"
    nodes = facts.capacities(place.name)
    empty, everywhere = Pool.empty([spec_of(node) for node in nodes]), (1 << len(nodes)) - 1
    if nodes and empty.room(shape_of(request), everywhere) >= request.nodes_min:
        return None
    return sentence(never_fits(request, empty, everywhere)) if nodes else "it has no nodes"
