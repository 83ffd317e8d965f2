"""What waits and what runs, as the scheduler sees it. Times are seconds since any one epoch."""

from headrace.core.events import Placed
from headrace.core.records import Record
from headrace.core.states import State
from headrace.schedule.request import Request


class After(Record, frozen=True, kw_only=True):
    """``condition``: ok (must end COMPLETED), notok (must end otherwise), any.

    ``state``: the other run's state now; None when it is not known, which counts as ended but not
    as COMPLETED.
    """

    run_id: str
    condition: str
    state: State | None


class Queued(Record, frozen=True, kw_only=True):
    """A run that waits.

    ``limit_s``: time limit; None is unlimited. ``partitions``: any of these; none is the default
    one. ``constraint``: features of all its nodes, ``a&b`` or ``a|b``. ``priority``: the user's own
    word; it orders the runs of one user. ``nice`` is Slurm's: it lowers the multifactor priority.
    ``resize_to``: an elastic run that was stopped to start again on this many nodes, before others.
    """

    id: str
    request: Request
    submitted_s: float
    limit_s: float | None = None
    user: str = ""
    account: str = ""
    qos: str = "normal"
    partitions: tuple[str, ...] = ()
    constraint: str | None = None
    reservation: str | None = None
    priority: int = 0
    nice: int = 0
    held: bool = False
    begin_s: float | None = None
    after: tuple[After, ...] = ()
    array_id: str | None = None
    array_throttle: int | None = None
    resize_to: int | None = None


class Running(Record, frozen=True, kw_only=True):
    """A run that holds its place since ``started_s``. ``job``: as it was queued.

    ``stopping``: it was told to give its place back. ``resize_to``: then to start on so many nodes.
    """

    job: Queued
    started_s: float
    placed: tuple[Placed, ...]
    stopping: bool = False
    resize_to: int | None = None
