"""Slurm's reason for a run that waits, with the numbers behind it. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from headrace.core.records import Record
from headrace.engines.slurm.everyone import Job, before, nodes_of
from headrace.engines.slurm.facts import Facts
from headrace.engines.slurm.limits import exceeded, hits, is_limit
from headrace.engines.slurm.reasons import in_words
from headrace.engines.slurm.rows import parse_fields, parse_gres, whole
from headrace.schedule.cluster import Reservation
from headrace.schedule.reason import (
    ArrayThrottle,
    Dependency,
    Holder,
    LimitHit,
    NotBefore,
    OnHold,
    OwnReservation,
    Priority,
    Reason,
    Reserved,
    Resources,
    Shortage,
    Told,
)
from headrace.schedule.request import Request

Name = Callable[[Job], str]
_HOLDERS = 3
_MIB = 1 << 20
_AWAY = ("DOWN", "DRAIN", "FAIL", "NOT_RESPONDING", "MAINT", "POWERED_DOWN", "FUTURE", "UNKNOWN")


class Node(Record, frozen=True, kw_only=True):
    """What is free on a node now; nothing where it takes no jobs."""

    name: str
    cpus: int
    gpus: int
    memory_bytes: int
    away: bool

    def has_room(self, request: Request) -> bool:
        enough = self.cpus >= request.cpus_per_node and self.gpus >= request.gpus_per_node
        return not self.away and enough and self.memory_bytes >= (request.memory_bytes or 0)


def parse_free(text: str) -> list[Node]:
    """``scontrol --oneliner show node``."""
    return [_node(fields) for fields in parse_fields(text) if "NodeName" in fields]


def _node(fields: Mapping[str, str]) -> Node:
    taken = dict(
        item.partition("=")[::2] for item in fields.get("AllocTRES", "").split(",") if "=" in item
    )
    state = fields.get("State", "UNKNOWN").upper()
    total = whole(fields.get("CPUEfctv", fields.get("CPUTot", "0")))
    memory = whole(fields.get("RealMemory", "0")) - whole(fields.get("AllocMem", "0"))
    return Node(
        name=fields["NodeName"],
        cpus=max(0, total - whole(fields.get("CPUAlloc", "0"))),
        gpus=max(0, parse_gres(fields.get("Gres", ""))[0] - whole(taken.get("gres/gpu", "0"))),
        memory_bytes=memory * _MIB,
        away=any(word in state for word in _AWAY),
    )


class Known(Record, frozen=True, kw_only=True):
    """``fields``: scontrol's words on the job. ``limits``: those in force, with their use.

    ``reserved``: the reservation of others that is in its way, ``own_reservation`` the one that it
    names, where Slurm speaks of one.
    """

    own: Job
    request: Request
    fields: dict[str, str]
    jobs: tuple[Job, ...]
    nodes: tuple[Node, ...]
    limits: tuple[LimitHit, ...]
    reserved: Reserved | None = None
    own_reservation: Reservation | None = None


def reasons_of(known: Known, facts: Facts, name: Name, waits_for: Sequence[str]) -> list[Reason]:
    """The one that Slurm gives first, then others that are in the way, too.

    ``waits_for``: the runs or jobs that it depends on, by name.
    """
    own = known.own
    word = own.reason.partition(",")[0]
    over = exceeded(known.limits)
    found: list[Reason] = []
    match word:
        case "JobHeldUser":
            found.append(OnHold())
        case "Dependency" if waits_for:
            found.append(Dependency(waits_for=tuple(waits_for)))
        case "BeginTime" if own.start_s is not None:
            found.append(NotBefore(begin_s=own.start_s))
        case "JobArrayTaskLimit" if whole(known.fields.get("ArrayTaskThrottle", "")):
            found.append(ArrayThrottle(limit=whole(known.fields["ArrayTaskThrottle"])))
        case "Reservation" if known.own_reservation is not None:
            found.append(_own_reservation(known.own_reservation))
        case "ReqNodeNotAvail" if known.reserved is not None:
            found.append(known.reserved)
        case "Resources":
            found.append(_resources(known, facts, name))
        case "Priority":
            found.append(_behind(known, facts, name) or _resources(known, facts, name))
        case _ if is_limit(word):
            found += hits(word, known.limits) or [Told(word=word, text=in_words(own.reason))]
        case _:
            found.append(Told(word=word, text=in_words(own.reason) or "Slurm gives no reason yet"))
    if word in ("Resources", "Priority") and not enough_room(known, facts):
        found += [one for one in [_resources(known, facts, name)] if one not in found]
    return [*found, *(hit for hit in over if hit not in found)]


def _own_reservation(found: Reservation) -> OwnReservation:
    return OwnReservation(reservation=found.name, closed="not begun", begin_s=found.start_s)


def room_for(known: Known, facts: Facts) -> int:
    """How many nodes of its partitions could take a part of it now."""
    here = nodes_of(known.own.partitions, facts)
    return sum(node.name in here and node.has_room(known.request) for node in known.nodes)


def enough_room(known: Known, facts: Facts) -> bool:
    return room_for(known, facts) >= known.request.nodes_min


def _behind(known: Known, facts: Facts, name: Name) -> Priority | None:
    ahead = before(known.own, known.jobs, facts)
    return Priority(behind=name(ahead[0]), before=len(ahead)) if ahead else None


def _resources(known: Known, facts: Facts, name: Name) -> Resources:
    """Nodes with room for it, and who holds the others of its partitions until when."""
    here = nodes_of(known.own.partitions, facts)
    holding = [job for job in known.jobs if not job.waits and not here.isdisjoint(job.nodes)]
    holding.sort(key=lambda job: (job.end_s is None, job.end_s))
    holders = tuple(
        Holder(run=name(job), amount=len(here.intersection(job.nodes)), until_s=job.end_s)
        for job in holding[:_HOLDERS]
    )
    short = Shortage(
        kind="nodes",
        needed=known.request.nodes_min,
        free=room_for(known, facts),
        holders=holders,
        held_by=len(holding),
    )
    return Resources(request=known.request, short=(short,))


def dependencies(text: str) -> list[tuple[str, str]]:
    """ "afterok:4711(unfulfilled),afterany:4712_3(unfulfilled)" as (condition, job)."""
    found = []
    for part in text.replace("?", ",").split(","):
        condition, _, job = part.partition(":")
        if job:
            found.append((condition, job.partition("(")[0]))
    return found


def away(nodes: Iterable[Node], here: set[str]) -> list[str]:
    return [node.name for node in nodes if node.away and node.name in here]
