"""Reservations of the cluster, and the next that is in a run's way. Pure."""

from collections.abc import Iterable, Mapping

from headrace.engines.slurm.hostlist import expand
from headrace.engines.slurm.rows import parse_fields, parse_time_s
from headrace.schedule.cluster import Reservation
from headrace.schedule.reason import Reserved

_SHOWN = 4


def parse_reservations(text: str) -> list[Reservation]:
    """``scontrol --oneliner show reservation``."""
    return [_reservation(fields) for fields in parse_fields(text) if "ReservationName" in fields]


def _reservation(fields: Mapping[str, str]) -> Reservation:
    def listed(key: str) -> tuple[str, ...]:
        value = fields.get(key, "")
        return () if value in ("", "(null)") else tuple(value.split(","))

    return Reservation(
        name=fields["ReservationName"],
        start_s=parse_time_s(fields.get("StartTime", "")) or 0.0,
        end_s=parse_time_s(fields.get("EndTime", "")) or 0.0,
        nodes=tuple(expand(fields.get("Nodes", "").replace("(null)", ""))),
        users=listed("Users"),
        accounts=listed("Accounts"),
        maintenance="MAINT" in fields.get("Flags", ""),
    )


def in_the_way(
    reservations: Iterable[Reservation], here: set[str], limit_s: float | None, now_s: float
) -> Reserved | None:
    """The first that takes some of these nodes before a run that starts now would be over."""
    end_s = float("inf") if limit_s is None else now_s + limit_s
    found = [
        one
        for one in reservations
        if one.end_s > now_s and one.start_s < end_s and not here.isdisjoint(one.nodes)
    ]
    first = min(found, key=lambda one: one.start_s, default=None)
    if first is None:
        return None
    nodes = [node for node in first.nodes if node in here]
    return Reserved(
        reservation=first.name,
        maintenance=first.maintenance,
        nodes=tuple(nodes[:_SHOWN]),
        count=len(nodes),
        start_s=first.start_s,
        end_s=first.end_s,
    )
