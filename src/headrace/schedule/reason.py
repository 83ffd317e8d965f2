"""Why a run waits: one record a kind, and its sentence."""

from typing import assert_never

from headrace.core.records import Record, Tagged
from headrace.core.units import format_bytes, format_duration
from headrace.schedule.request import Request, describe


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


class ArrayThrottle(Tagged, frozen=True, kw_only=True):
    """As many elements of the array run as it allows at a time."""

    limit: int


class NotBefore(Tagged, frozen=True, kw_only=True):
    """Asked not to begin earlier. ``begin_s`` since 1970."""

    begin_s: float


class Shortage(Record, frozen=True, kw_only=True):
    """``kind``: CPUs, GPUs, memory (bytes), or nodes when each kind alone would do."""

    kind: str
    needed: int
    free: int


class Resources(Tagged, frozen=True, kw_only=True):
    """First in line for something that is short."""

    request: Request
    short: tuple[Shortage, ...]


class Priority(Tagged, frozen=True, kw_only=True):
    """It would fit, but what it would take is kept for a run ahead of it."""

    behind: str


class NeverFits(Tagged, frozen=True, kw_only=True):
    """Too large for the nodes even when they are empty. Totals are over all nodes."""

    request: Request
    fitting_nodes: int
    nodes: int
    cpus: int
    gpus: int
    memory_bytes: int


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


Reason = (
    Dependency
    | Hopeless
    | OnHold
    | ArrayThrottle
    | NotBefore
    | Resources
    | Priority
    | NeverFits
    | LimitHit
    | NotAllowed
)


def sentence(reason: Reason) -> str:
    """The reason for people; a clause that follows "waits:" or "why:"."""
    match reason:
        case Dependency(waits_for=runs):
            return f"waits for {', '.join(runs)} to end"
        case Hopeless(on=run, state=state, condition=condition):
            return f"{run} ended {state}, and it was asked to run after {condition}: {run}"
        case OnHold():
            return "held; it starts after release"
        case ArrayThrottle(limit=limit):
            return f"its array runs {limit} at a time"
        case NotBefore(begin_s=begin_s):
            return f"not to begin before {begin_s:.0f} s since 1970"
        case Resources(request=request, short=short):
            missing = " and ".join(_shortage(item, request) for item in short)
            return f"waits for {missing}"
        case Priority(behind=run):
            return f"waits behind {run}"
        case NeverFits():
            return _never(reason)
        case LimitHit():
            return _limit(reason)
        case NotAllowed():
            return _not_allowed(reason)
        case _:
            assert_never(reason)


def _shortage(short: Shortage, request: Request) -> str:
    if short.kind == "memory":
        return f"{format_bytes(short.needed)} memory ({short.free / (1 << 30):.1f} GiB free)"
    if short.kind == "nodes":
        return f"{describe(request)} ({short.free} of them fit now)"
    return f"{short.needed} {short.kind} ({short.free} free)"


def _never(reason: NeverFits) -> str:
    gpu_words = f"{reason.request.gpu_type} GPUs" if reason.request.gpu_type else "GPUs"
    nodes = "1 node" if reason.nodes == 1 else f"{reason.nodes} nodes"
    return (
        f"this machine has {reason.cpus} CPUs, {reason.gpus} {gpu_words} and "
        f"{reason.memory_bytes / (1 << 30):.1f} GiB memory on {nodes}; "
        f"{reason.fitting_nodes} of the {reason.request.nodes_min} fit even when it is empty"
    )


def _limit(hit: LimitHit) -> str:
    allowed, used, needed = (_amount(hit, one) for one in (hit.allowed, hit.used, hit.needed))
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


def _amount(hit: LimitHit, number: float) -> str:
    if hit.limit == "GrpTRESMins":
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
