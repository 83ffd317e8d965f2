"""What commands can ask for, whatever keeps the runs: a daemon, or an engine in this process."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from headrace.core.order import Order
from headrace.engines.contract import Acted, Batch, RunDetail, RunRow, Share, Spent, Submitted
from headrace.schedule.capacity import Capacity
from headrace.schedule.cluster import Reservation

if TYPE_CHECKING:
    from headrace.schedule.explain import Explanation, Ranked


class Door(Protocol):
    """All may raise ``HeadraceError``.

    ``system``: whether it serves all users of a machine, whose files are not all readable.
    """

    @property
    def system(self) -> bool: ...

    def runs_folder(self) -> str:
        """Where the caller's run directories are."""
        ...

    def submit(
        self,
        job: str,
        environment: Mapping[str, str],
        *,
        script: str | None = None,
        token: str | None = None,
    ) -> Submitted:
        """``job``: YAML with absolute paths. ``script``: the text of its batch script, if it has
        one. ``token``: the same for every try."""
        ...

    def dry_run(self, job: str) -> Order | Batch: ...

    def runs(self, *, ended: bool) -> list[RunRow]: ...

    def find(self, name: str) -> list[RunRow]: ...

    def detail(self, name: str) -> RunDetail: ...

    def wait(self, name: str, *, timeout_s: float = ...) -> list[RunRow]:
        """The rows once all have ended, or as they are after ``timeout_s`` (at most 60)."""
        ...

    def cancel(self, name: str, *, now: bool) -> list[Acted]: ...

    def explain(self, name: str, *, sooner: bool = True) -> "Explanation":
        """``sooner``: also look for changes, which is most of the work."""
        ...

    def ranking(self) -> "list[Ranked]":
        """Those that wait for nodes, in the queue's order."""
        ...

    def hold(self, name: str) -> list[Acted]: ...

    def release(self, name: str) -> list[Acted]: ...

    def requeue(self, name: str) -> list[Acted]: ...

    def resize(self, name: str, nodes_min: int, nodes_max: int) -> list[Acted]: ...

    def nodes(self) -> list[Capacity]: ...

    def usage(self) -> list[Spent]: ...

    def accounts(self) -> list[Share]: ...

    def logs(self, name: str) -> list[str]:
        """The files of the run's logs, below its directory, by attempt."""
        ...

    def piece(self, name: str, path: str, offset: int) -> bytes:
        """Some bytes of such a file; none at its end."""
        ...

    def reservations(self) -> list[Reservation]: ...

    def reserve(self, reservation: Reservation) -> list[Reservation]: ...

    def unreserve(self, name: str) -> list[Reservation]: ...
