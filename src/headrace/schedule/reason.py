"""Why a run waits: one record a kind, and its sentence."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, assert_never

from headrace.core.records import Record, Tagged
from headrace.core.units import format_bytes, format_duration
from headrace.schedule.request import Request, describe

When = Callable[[float], str]


class Dependency(Tagged, frozen=True, kw_only=True):
    """Runs that must end first."""

    waits_for: tuple[str, ...]


class Hopeless(Tagged, frozen=True, kw_only=True):
    """A run it waits for ended in a way that can never satisfy the condition."""

    on: str
    state: str
    condition: str


class OnHold(Tagged, frozen=True, kw_only=True):
    """Held; released by its user."""


class NotBefore(Tagged, frozen=True, kw_only=True):
    """Asked not to begin earlier. ``begin_s`` since 1970."""

    begin_s: float


class ArrayThrottle(Tagged, frozen=True, kw_only=True):
    """As many elements of the array run as it allows at a time."""

    limit: int


class LimitHit(Tagged, frozen=True, kw_only=True):
    """A limit of an account, user, QOS or partition is in the way.

    ``limit``: Slurm's name for it, such as GrpTRES. ``resource``: cpu, gpu, node, memory (bytes),
    billing; empty for runs, and for times (seconds). ``used``: by other runs, ``needed``: by this
    one; 0 where the group has used up what it may.
    """

    limit: str
    resource: str
    owner: str
    allowed: float
    used: float
    needed: float


class NotAllowed(Tagged, frozen=True, kw_only=True):
    """A name that there is not, or with ``by``, that is not for this user, account or QOS.

    ``choices``: what may be named instead; ``holders``: who may name it.
    """

    wanted: str
    by: str = ""
    choices: tuple[str, ...] = ()
    holders: tuple[str, ...] = ()


class OwnReservation(Tagged, frozen=True, kw_only=True):
    """It may only run in a reservation, and that is not to be had now.

    ``closed``: it has not begun, it is over, there is none of that name, it is for others.
    """

    reservation: str
    closed: Literal["not begun", "over", "unknown", "for others"]
    begin_s: float | None = None


class Reserved(Tagged, frozen=True, kw_only=True):
    """What it would take is kept for others at a time before its limit.

    ``nodes``: the first few of ``count``.
    """

    reservation: str
    maintenance: bool
    nodes: tuple[str, ...]
    count: int
    start_s: float
    end_s: float


class NodesDown(Tagged, frozen=True, kw_only=True):
    """It would fit if these nodes were not down. ``nodes``: the first few of ``count``."""

    nodes: tuple[str, ...]
    count: int


class NoSuchNode(Tagged, frozen=True, kw_only=True):
    """No node is in its partitions and has its features."""

    partitions: tuple[str, ...]
    constraint: str | None


class Largest(Record, frozen=True, kw_only=True):
    """``kind``: CPUs, GPUs or memory (bytes) a node; no node has more than ``most``."""

    kind: str
    needed: int
    most: int


class NeverFits(Tagged, frozen=True, kw_only=True):
    """Too large for the nodes even when they are empty. Totals are over all nodes it may use.

    ``too_large``: what no single node has. Empty: there are too few nodes.
    """

    request: Request
    fitting_nodes: int
    nodes: int
    cpus: int
    gpus: int
    memory_bytes: int
    too_large: tuple[Largest, ...] = ()


class MakingRoom(Tagged, frozen=True, kw_only=True):
    """It fits when these runs, which were told to, have given their nodes back."""

    runs: tuple[str, ...]


class Holder(Record, frozen=True, kw_only=True):
    """A run that holds ``amount`` of what is short. ``until_s``: None is no time limit."""

    run: str
    amount: int
    until_s: float | None


class Shortage(Record, frozen=True, kw_only=True):
    """``kind``: CPUs, GPUs, memory (bytes), or nodes when each kind alone would do.

    ``holders``: those that end first of ``held_by`` runs; only where asked for in detail.
    """

    kind: str
    needed: int
    free: int
    holders: tuple[Holder, ...] = ()
    held_by: int = 0


class Resources(Tagged, frozen=True, kw_only=True):
    """Something is short now."""

    request: Request
    short: tuple[Shortage, ...]


class Priority(Tagged, frozen=True, kw_only=True):
    """What it would take is kept for a run ahead of it. ``before``: how many are ahead."""

    behind: str
    before: int = 1


class NextPass(Tagged, frozen=True, kw_only=True):
    """It fits, and is looked at again then; None is soon."""

    at_s: float | None


class Told(Tagged, frozen=True, kw_only=True):
    """A batch system's reason that has no numbers to go with it. ``text``: a clause."""

    word: str
    text: str


Reason = (
    Dependency
    | Hopeless
    | OnHold
    | NotBefore
    | ArrayThrottle
    | LimitHit
    | NotAllowed
    | OwnReservation
    | Reserved
    | NodesDown
    | NoSuchNode
    | NeverFits
    | MakingRoom
    | Resources
    | Priority
    | NextPass
    | Told
)


def utc(time_s: float) -> str:
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M} UTC"


def sentence(reason: Reason, when: When = utc) -> str:
    """The reason for people; a clause that follows "waits:" or "why:". ``when`` writes a time."""
    match reason:
        case Dependency(waits_for=runs):
            return f"waits for {', '.join(runs)} to end"
        case Hopeless(on=run, state=state, condition=condition):
            return f"{run} ended {state}, and it was asked to run after {condition}: {run}"
        case OnHold():
            return "held; it starts after release"
        case NotBefore(begin_s=begin_s):
            return f"not to begin before {when(begin_s)}"
        case ArrayThrottle(limit=limit):
            return f"its array runs {limit} at a time"
        case LimitHit():
            return _limit(reason)
        case NotAllowed():
            return _not_allowed(reason)
        case OwnReservation():
            return _own_reservation(reason, when)
        case Reserved():
            return _reserved(reason, when)
        case NodesDown(nodes=nodes, count=count):
            return f"{_names(nodes, count)} {'is' if count == 1 else 'are'} down"
        case NoSuchNode():
            return _no_such_node(reason)
        case NeverFits():
            return _never(reason)
        case MakingRoom(runs=runs):
            return f"{_names(runs, len(runs))} {_leave(len(runs))} to make room for it"
        case Resources(request=request, short=short):
            missing = " and ".join(_shortage(item, request, when) for item in short)
            return f"waits for {missing}"
        case Priority(behind=run, before=before):
            return f"waits behind {run}" + (f"; {before} runs are before it" * (before > 1))
        case NextPass(at_s=at_s):
            return "fits, and starts soon" if at_s is None else f"looked at again {when(at_s)}"
        case Told(text=text):
            return text
        case _:
            assert_never(reason)


def _names(names: tuple[str, ...], count: int) -> str:
    """ "n0, n1 and 6 more"."""
    listed = ", ".join(names)
    return listed if count <= len(names) else f"{listed} and {count - len(names)} more"


def _leave(count: int) -> str:
    return "saves and leaves" if count == 1 else "save and leave"


def _own_reservation(reason: OwnReservation, when: When) -> str:
    match reason.closed:
        case "not begun":
            begins = "" if reason.begin_s is None else f" before {when(reason.begin_s)}"
            return f"its reservation {reason.reservation} does not begin{begins}"
        case "over":
            return f"its reservation {reason.reservation} is over"
        case "unknown":
            return f"there is no reservation {reason.reservation}"
        case "for others":
            return f"its reservation {reason.reservation} is for others"
        case _:
            assert_never(reason.closed)


def _reserved(reason: Reserved, when: When) -> str:
    nodes = _names(reason.nodes, reason.count)
    what = "maintenance" if reason.maintenance else "reservation"
    begins, ends = when(reason.start_s), when(reason.end_s)
    return f"{what} {reason.reservation} keeps {nodes} from {begins} until {ends}"


def _no_such_node(reason: NoSuchNode) -> str:
    where = f" of partition {' or '.join(reason.partitions)}" if reason.partitions else ""
    having = f" has {reason.constraint}" if reason.constraint else " exists"
    return f"no node{where}{having}"


def _shortage(short: Shortage, request: Request, when: When) -> str:
    held = "".join(f", {_holder(one, short.kind, when)}" for one in short.holders)
    if short.held_by > len(short.holders) > 0:
        more = short.held_by - len(short.holders)
        held += f", {more} more {'run' if more == 1 else 'runs'} the rest"
    if short.kind == "memory":
        free = f"{short.free / (1 << 30):.1f} GiB free"
        return f"{format_bytes(short.needed)} memory ({free}{held})"
    if short.kind == "nodes":
        return f"{describe(request)} ({short.free} of them fit now{held})"
    kind = short.kind[:-1] if short.needed == 1 else short.kind
    return f"{short.needed} {kind} ({short.free} free{held})"


def _holder(holder: Holder, kind: str, when: When) -> str:
    amount = f"{holder.amount / (1 << 30):.1f} GiB" if kind == "memory" else str(holder.amount)
    until = "without time limit" if holder.until_s is None else f"until {when(holder.until_s)}"
    return f"{holder.run} holds {amount} {until}"


def _never(reason: NeverFits) -> str:
    gpu_words = f"{reason.request.gpu_type} GPUs" if reason.request.gpu_type else "GPUs"
    nodes = "1 node" if reason.nodes == 1 else f"{reason.nodes} nodes"
    too_large = "".join(f"no node has {_largest(one, gpu_words)}; " for one in reason.too_large)
    return (
        f"{too_large}it may use {reason.cpus} CPUs, {reason.gpus} {gpu_words} and "
        f"{reason.memory_bytes / (1 << 30):.1f} GiB memory on {nodes}; "
        f"{reason.fitting_nodes} of the {reason.request.nodes_min} fit even when all is empty"
    )


def _largest(one: Largest, gpu_words: str) -> str:
    if one.kind == "memory":
        return f"{format_bytes(one.needed)} memory (at most {one.most / (1 << 30):.1f} GiB)"
    kind = gpu_words if one.kind == "GPUs" else one.kind
    return f"{one.needed} {kind} (at most {one.most})"


def _limit(hit: LimitHit) -> str:
    allowed, used, needed = (amount(hit, one) for one in (hit.allowed, hit.used, hit.needed))
    name = f"{hit.limit} {hit.resource}".rstrip()
    if hit.limit in ("GrpTRESMins", "GrpWall") and not hit.needed:
        return f"{hit.owner} has used up its {name}: {used} of {allowed}"
    if hit.needed > hit.allowed:
        return f"{name} of {hit.owner} is {allowed}, this run needs {needed}"
    if hit.resource:
        return (
            f"{hit.owner} is at its {name} limit: {used} of {allowed} in use, "
            f"this run needs {needed}"
        )
    doing = "queued or running" if "Submit" in hit.limit else "running"
    more = "" if hit.needed == 1 else f", this adds {needed}"
    return f"{hit.owner} is at its {name} limit: {used} of {allowed} runs {doing}{more}"


def amount(hit: LimitHit, number: float) -> str:
    """In the unit that the limit is told in."""
    if hit.limit.endswith("Mins"):
        return f"{number:.0f} minutes" if hit.resource != "memory" else f"{number:.3g} byte minutes"
    if hit.limit in ("GrpWall", "MaxWall", "MaxTime"):
        return format_duration(int(number))
    return format_bytes(int(number)) if hit.resource == "memory" else f"{number:g}"


def _not_allowed(reason: NotAllowed) -> str:
    instead = f"; there is {', '.join(reason.choices)}" if reason.choices else ""
    if not reason.by:
        return f"there is no {reason.wanted}{instead}"
    if reason.holders:
        return f"{reason.wanted} is not for {reason.by}, only for {', '.join(reason.holders)}"
    return f"{reason.by} may not use {reason.wanted}{instead}"
