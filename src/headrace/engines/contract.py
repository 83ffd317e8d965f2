"""What every engine does, and the records it answers with.

An engine takes job descriptions, keeps them in a queue, starts a lead for each when its turn comes,
and says what became of it. It never touches a training process itself, except to clear up after a
lead that died.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from headrace.core.errors import NotFound, Refused
from headrace.core.events import Placed
from headrace.core.order import Order
from headrace.core.records import Record, replace
from headrace.core.states import State
from headrace.schedule.capacity import Capacity
from headrace.schedule.request import Request

if TYPE_CHECKING:
    from headrace.schedule.explain import Explanation, Ranked
    from headrace.spec.job import JobSpec


class RunRow(Record, frozen=True, kw_only=True):
    """One run now. Times are seconds since 1970.

    ``reason``: why it waits, or how it ended, in words. ``attempts``: started so far.
    ``started_s``: first start. ``placed``: the place it holds, or held last. ``uid``: whose it is;
    None is the user whose daemon this is.
    """

    id: str
    name: str
    user: str
    state: State
    reason: str
    submitted_s: float
    started_s: float | None
    ended_s: float | None
    attempts: int
    restarts: int
    exit_code: int | None
    run_dir: str
    request: Request
    placed: tuple[Placed, ...]
    array_id: str | None
    priority: int
    uid: int | None = None


class AttemptRow(Record, frozen=True, kw_only=True):
    """One start of all ranks. ``outcome``: completed, error, node, hang, oom, stopped, or None."""

    number: int
    world_size: int
    nodes: tuple[str, ...]
    started_s: float
    ended_s: float | None
    outcome: str | None
    detail: str
    step: int | None


class RunDetail(Record, frozen=True, kw_only=True):
    run: RunRow
    attempts: tuple[AttemptRow, ...]


class Submitted(Record, frozen=True, kw_only=True):
    """``id`` names the whole submission; ``runs`` its elements, just ``id`` for a single run.

    ``notes``: what the submitter should know.
    """

    id: str
    runs: tuple[str, ...]
    notes: tuple[str, ...] = ()


class Batch(Record, frozen=True, kw_only=True):
    """What a batch system would be sent: a script, and the command that takes it."""

    argv: tuple[str, ...]
    script: str
    notes: tuple[str, ...] = ()


class Acted(Record, frozen=True, kw_only=True):
    """What cancel, hold or release did with one run, in words."""

    id: str
    state: State
    text: str


class Spent(Record, frozen=True, kw_only=True):
    """``month`` is 2026-11. ``runs`` held a place in it. ``energy_kwh``: None where nothing was
    measured; it counts in the run's last month."""

    user: str
    account: str
    month: str
    runs: int = 0
    cpu_hours: float = 0.0
    gpu_hours: float = 0.0
    energy_kwh: float | None = None


class Share(Record, frozen=True, kw_only=True):
    """An account, or with ``user`` a user's part of it. ``depth``: accounts above it.

    ``promised``: its part of the machine by shares alone, None where it has its parent's.
    ``used``: its part of the usage that fair share goes by. Hours are of all times.
    """

    account: str
    user: str | None
    depth: int
    shares: int | None
    promised: float | None
    used: float
    cpu_hours: float
    gpu_hours: float


class Capabilities(Record, frozen=True, kw_only=True):
    """``refused_fields``: job fields that a run on this engine may not set."""

    name: str
    hold: bool
    arrays: bool
    elastic: bool
    refused_fields: tuple[str, ...]


class Caller(Record, frozen=True, kw_only=True):
    """Who asks, by the kernel's word. An ``admin`` may do with all runs what their owners may."""

    uid: int
    name: str
    admin: bool = False


class Engine(Protocol):
    """``who`` asks. A run is named by its id, ``n`` or ``n_i``; the id of an array names all its
    elements. Raise ``RunNotFound`` for any other name, ``NotYours`` when ``who`` may not do that
    with the run. Of others' runs ``who`` sees what is public: ``public_part``."""

    def submit(
        self,
        spec: "JobSpec",
        *,
        token: str,
        who: Caller,
        environment: Mapping[str, str],
        script: str | None,
    ) -> Submitted:
        """Queue the run or array, once a ``token``. Raise ``Refused`` when it can never run.

        ``script``: the text of the batch script, which may change after this; None without one.
        """
        ...

    def dry_run(self, spec: "JobSpec", *, who: Caller) -> Order | Batch:
        """What the lead would be told if the machine were empty, or what a batch system would be
        sent. Raise as ``submit``."""
        ...

    def runs(self, *, ended: bool, who: Caller) -> list[RunRow]:
        """All runs that wait or run, and with ``ended`` all others, in order of submission."""
        ...

    def find(self, name: str, *, who: Caller) -> list[RunRow]:
        """The run of that name, or all elements of that array."""
        ...

    def run(self, name: str, *, who: Caller) -> RunDetail:
        """One run and its attempts. Raise ``RunNotFound`` for an array."""
        ...

    def explain(self, name: str, *, who: Caller, sooner: bool = True) -> "Explanation":
        """Why the run, or the first of the array that does, waits, and when it starts.

        ``sooner``: also what would start it sooner. Raise ``NotWaiting``.
        """
        ...

    def ranking(self, *, who: Caller) -> "list[Ranked]":
        """All that wait for nodes, in order, with what their places are made of."""
        ...

    def cancel(self, name: str, *, who: Caller, now: bool) -> list[Acted]: ...

    def hold(self, name: str, *, who: Caller) -> list[Acted]: ...

    def release(self, name: str, *, who: Caller) -> list[Acted]: ...

    def usage(self, *, who: Caller) -> list[Spent]:
        """What was held, by month, account and user; of others only for admins."""
        ...

    def shares(self, *, who: Caller) -> list[Share]:
        """The accounts as a tree, parents first; of users in it, others only for admins."""
        ...

    def nodes(self) -> list[Capacity]: ...

    def capabilities(self) -> Capabilities: ...


class RunNotFound(NotFound):
    """No run has this name."""

    code = "HR-ENGINE-001"

    def __init__(self, name: str, *, why: str = "no run of yours has this id or number") -> None:
        super().__init__(
            f'there is no run "{name}"',
            why=why,
            remedy="headrace ps --all lists your runs",
        )


class NotYours(Refused):
    """The run is another user's."""

    code = "HR-ENGINE-002"

    def __init__(self, row: RunRow, who: Caller, what: str) -> None:
        super().__init__(
            f"{who.name} may not {what} run {public_id(row.id)}",
            why=f"it belongs to {row.user}, and only its owner and admins may do that",
            remedy=f"ask {row.user}, or an admin of this machine",
        )


class NotWaiting(Refused):
    """The run does not wait, so there is nothing to explain."""

    code = "HR-ENGINE-003"

    def __init__(self, row: RunRow) -> None:
        super().__init__(
            f"run {row.id} does not wait: it is {row.state}",
            why="explain tells why a run waits and when it starts",
            remedy=f"headrace status {row.id}",
        )


def may(row: RunRow, who: Caller) -> bool:
    """Whether ``who`` may see and do everything with the run."""
    return who.admin or row.uid in (None, who.uid)


def public_part(row: RunRow) -> RunRow:
    """What everybody may know: its number, whose it is, its state, its size, its times.

    The name is not among them: it may have been made of the command.
    """
    return replace(
        row,
        id=public_id(row.id),
        name="",
        reason="",
        exit_code=None,
        run_dir="",
        array_id=None if row.array_id is None else public_id(row.array_id),
    )


def public_id(run_id: str) -> str:
    """The number of a run, n or n_i, which names it as well."""
    return run_id.rpartition("-")[2]
