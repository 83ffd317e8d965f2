"""What a scheduler keeps of each run, and what orders and disciplines must offer it."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, TypeVar

from headrace.core.states import State
from headrace.schedule.choice import Preference
from headrace.schedule.cluster import Cluster
from headrace.schedule.pool import Grants, Shape, slices_of
from headrace.schedule.queue import Queued
from headrace.schedule.reason import Reason

if TYPE_CHECKING:
    from headrace.schedule.scheduler import Scheduler

Key = tuple[Any, ...]
Memo = dict[int, Any]  # what ``deepcopy`` has copied so far
T = TypeVar("T")


def _twin(original: T) -> T:
    """Another object with the very same in its slots."""
    twin = object.__new__(type(original))
    for name in type(original).__slots__:  # type: ignore[attr-defined]
        setattr(twin, name, getattr(original, name))
    return twin


class Demand:
    """A shape on a set of nodes: what many runs ask for alike. Rooms are as of their stamps."""

    __slots__ = ("allowed", "capacity", "room", "shape", "spare", "spare_stamp", "stamp")

    def __init__(self, shape: Shape, allowed: int, capacity: int) -> None:
        self.shape = shape
        self.allowed = allowed
        self.capacity = capacity  # slices on the empty cluster
        self.room = self.spare = 0
        self.stamp = self.spare_stamp = -1

    def __deepcopy__(self, memo: Memo) -> Self:
        return _twin(self)


class Waiting:
    """A run that waits for nodes since ``eligible_s``. ``key``: its place in the queue."""

    __slots__ = (
        *("demand", "eligible_s", "job", "key", "least", "limit_s", "most"),
        *("checked", "preempts", "removed", "started"),
    )

    def __init__(self, job: Queued, demand: Demand, eligible_s: float) -> None:
        self.job = job
        self.demand = demand
        self.eligible_s = eligible_s
        self.least = job.request.nodes_min
        self.most = job.resize_to or job.request.nodes_max
        self.limit_s = inf if job.limit_s is None else job.limit_s
        self.key: Key = ()
        self.checked = False
        self.preempts = False
        self.started = False
        self.removed = False

    def __deepcopy__(self, memo: Memo) -> Self:
        twin = _twin(self)
        twin.demand = deepcopy(self.demand, memo)
        return twin


class Active:
    """A run that holds nodes. ``end_s``: when it must have ended, by its limit.

    ``stop``: it was told to give them back.
    """

    __slots__ = ("demand", "end_s", "grants", "job", "rank", "slices", "started_s", "stop")

    def __init__(
        self, job: Queued, demand: Demand, grants: Grants, started_s: float, rank: int
    ) -> None:
        self.job = job
        self.demand = demand
        self.grants = grants
        self.slices = slices_of(grants)
        self.started_s = started_s
        self.end_s = inf if job.limit_s is None else started_s + job.limit_s
        self.rank = (self.end_s, rank)
        self.stop: Stop | None = None

    @property
    def stopping(self) -> bool:
        return self.stop is not None

    def __deepcopy__(self, memo: Memo) -> Self:
        twin = _twin(self)
        twin.demand = deepcopy(self.demand, memo)
        return twin


class Started(NamedTuple):
    job: Queued
    grants: Grants


class Stop(NamedTuple):
    """A run is to give its nodes back within ``grace_s``, and is queued again.

    ``reason``: preempt, or resize, then to be started on ``slices`` nodes. ``by``: for whom.
    """

    run_id: str
    reason: str
    by: str
    grace_s: float
    slices: int | None = None


class Decided(NamedTuple):
    starts: list[Started]
    stops: list[Stop]


class Order(Protocol):
    """Who comes first. ``period_s``: how long keys stay true; None is forever."""

    period_s: float | None

    def recalculate(self, now_s: float) -> None: ...

    def key(self, waiting: Waiting, now_s: float) -> Key: ...

    def started(self, active: Active, now_s: float) -> None: ...

    def ended(self, active: Active, now_s: float, state: State) -> None:
        """``state`` PREEMPTED: it comes back."""


class Gate(Protocol):
    """Limits: whether a run may start now, whatever is free."""

    def applies(self, job: Queued) -> bool: ...

    def blocked(self, job: Queued, width: int) -> Reason | None: ...

    def start(self, job: Queued, width: int) -> None: ...

    def end(self, job: Queued, width: int) -> None: ...


class Discipline(Protocol):
    """How the queue is walked. ``wake_s``: when a walk is due even if nothing happens."""

    wake_s: float

    def walk(self, scheduler: "Scheduler", now_s: float) -> None: ...


@dataclass(frozen=True)
class Policy:
    """``name`` is what users type. Orders and disciplines hold state: one of each a scheduler.

    ``elastic``: widths change; ``displaces``: a QOS may preempt others. A discipline that displaces
    by a rule of its own must be alone with it.
    """

    name: str
    order: Callable[[Cluster], Order]
    discipline: Callable[[], Discipline]
    prefer: Preference = "pack"
    elastic: bool = True
    displaces: bool = True

    def placing(self, prefer: Preference) -> "Policy":
        """The same, but nodes are chosen so."""
        return replace(self, prefer=prefer)
