"""Advance reservations: when which nodes are kept from whom."""

from collections.abc import Sequence
from math import inf

from headrace.schedule.cluster import Reservation
from headrace.schedule.queue import Queued


class Calendar:
    """``entries``: reservations with their nodes as a set. ``down``: nodes that nobody may use.

    ``under_way``: the reservations that have begun and not ended, by name.
    """

    def __init__(self, entries: Sequence[tuple[Reservation, int]] = ()) -> None:
        self.entries = list(entries)
        self.down = 0
        self.under_way: dict[str, Reservation] = {}

    def turn(self, now_s: float) -> None:
        """Note which reservations are under way."""
        self.under_way = {
            one.name: one for one, _ in self.entries if one.start_s <= now_s < one.end_s
        }

    def is_open(self, job: Queued) -> bool:
        """Whether the reservation that the run asks for is under way, and lets it in."""
        found = self.under_way.get(job.reservation or "")
        return found is not None and admits(found, job)

    @property
    def is_empty(self) -> bool:
        return not self.entries and not self.down

    def usable(self, job: Queued, allowed: int, start_s: float, end_s: float) -> int:
        """Of ``allowed``, what the run may hold from ``start_s`` to ``end_s``.

        A run in a reservation gets its nodes only, and must begin within it; it may outlast it
        unless another begins there.
        """
        usable = allowed & ~self.down
        for entry, nodes in self.entries:
            if entry.name == job.reservation:
                inside = entry.start_s <= start_s < entry.end_s and admits(entry, job)
                usable &= nodes if inside else 0
            elif entry.start_s < end_s and start_s < entry.end_s:
                usable &= ~nodes
        if job.reservation is not None and all(
            entry.name != job.reservation for entry, _ in self.entries
        ):
            return 0
        return usable

    def next_edge_s(self, now_s: float) -> float:
        """When a reservation next begins or ends."""
        return min((edge_s for edge_s in self.edges_s() if edge_s > now_s), default=inf)

    def edges_s(self) -> list[float]:
        return sorted({at_s for one, _ in self.entries for at_s in (one.start_s, one.end_s)})


def admits(reservation: Reservation, job: Queued) -> bool:
    if reservation.maintenance:
        return False
    return job.user in reservation.users or job.account in reservation.accounts
