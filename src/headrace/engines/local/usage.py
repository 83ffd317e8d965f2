"""Who has used how much: hours of places held, by user, account and month; and the tree of shares.

A place counts from its start to the end of its hold, busy or not. Pure but for the local time zone,
in which months begin.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from headrace.core.events import Placed
from headrace.engines.contract import Share, Spent
from headrace.engines.local.history import History, Stretch
from headrace.schedule.cluster import Account

_HOUR_S = 3600.0
_J_PER_KWH = 3.6e6


class Holding(NamedTuple):
    """All places a run has had. ``energy_j`` is what counters measured; None is not known."""

    user: str
    account: str
    stretches: Sequence[Stretch]
    energy_j: float | None


def present_stretch(history: History, now_s: float) -> Stretch:
    """The place that the run holds, until now."""
    return Stretch(start_s=history.placed_s, end_s=now_s, placed=history.placed)


def spent(holdings: Iterable[Holding]) -> list[Spent]:
    """In order of month, account, user."""
    found: dict[tuple[str, str, str], Spent] = {}
    for holding in holdings:
        months = sorted({month for one in holding.stretches for month, *_ in _by_month(one)})
        for month in months:
            key = month, holding.account, holding.user
            old = found.get(key) or Spent(user=holding.user, account=holding.account, month=month)
            cpu_s, gpu_s = _held_s(holding.stretches, month)
            energy_j = holding.energy_j if month == months[-1] else None
            found[key] = Spent(
                user=old.user,
                account=old.account,
                month=month,
                runs=old.runs + 1,
                cpu_hours=old.cpu_hours + cpu_s / _HOUR_S,
                gpu_hours=old.gpu_hours + gpu_s / _HOUR_S,
                energy_kwh=_sum(old.energy_kwh, energy_j and energy_j / _J_PER_KWH),
            )
    return [found[key] for key in sorted(found)]


def share_tree(
    accounts: Sequence[Account],
    usage: Mapping[tuple[str, str], float],
    rows: Sequence[Spent],
) -> list[Share]:
    """The accounts as a tree, parents first. ``usage``: by (account, user), faded."""
    whole = sum(usage.values())
    below: dict[str | None, list[Account]] = {}
    for one in accounts:
        above = one.name if one.user is not None else one.parent
        below.setdefault(above, []).append(one)

    def visit(above: str | None, depth: int, part: float | None) -> Iterator[Share]:
        level = below.get(above, [])
        total = sum(one.shares or 0 for one in level)
        for one in level:
            promised = part
            if one.shares is not None and part is not None:
                promised = part * one.shares / total if total else 0.0
            names = {one.name} if one.user is not None else _names_below(one.name, below)
            yield Share(
                account=one.name,
                user=one.user,
                depth=depth,
                shares=one.shares,
                promised=None if one.shares is None else promised,
                used=_part(usage, names, one.user, whole),
                cpu_hours=sum(row.cpu_hours for row in rows if _in(row, names, one.user)),
                gpu_hours=sum(row.gpu_hours for row in rows if _in(row, names, one.user)),
            )
            if one.user is None:
                yield from visit(one.name, depth + 1, promised)

    return list(visit(None, 0, 1.0))


def _names_below(name: str, below: Mapping[str | None, Sequence[Account]]) -> set[str]:
    found = {name}
    for one in below.get(name, ()):
        if one.user is None:
            found |= _names_below(one.name, below)
    return found


def _part(
    usage: Mapping[tuple[str, str], float], names: set[str], user: str | None, whole: float
) -> float:
    used = sum(
        amount
        for (account, who), amount in usage.items()
        if account in names and user in (None, who)
    )
    return used / whole if whole else 0.0


def _in(row: Spent, names: set[str], user: str | None) -> bool:
    return row.account in names and user in (None, row.user)


def _held_s(stretches: Iterable[Stretch], month: str) -> tuple[float, float]:
    """CPU and GPU seconds held in that month."""
    spans = [
        (end_s - start_s, placed)
        for one in stretches
        for name, start_s, end_s, placed in _by_month(one)
        if name == month
    ]
    cpu_s = sum(held_s * sum(len(one.cpus) for one in placed) for held_s, placed in spans)
    gpu_s = sum(held_s * sum(len(one.gpus) for one in placed) for held_s, placed in spans)
    return cpu_s, gpu_s


def _by_month(stretch: Stretch) -> Iterator[tuple[str, float, float, tuple[Placed, ...]]]:
    """(month, start, end, place) of each part of the stretch that lies in one month."""
    cuts = [stretch.start_s]
    while (turn_s := _next_month_s(cuts[-1])) < stretch.end_s:
        cuts.append(turn_s)
    cuts.append(max(stretch.end_s, stretch.start_s))
    for start_s, end_s in pairwise(cuts):
        yield datetime.fromtimestamp(start_s).strftime("%Y-%m"), start_s, end_s, stretch.placed


def _next_month_s(time_s: float) -> float:
    then = datetime.fromtimestamp(time_s)
    year, month = (then.year + 1, 1) if then.month == 12 else (then.year, then.month + 1)
    return datetime(year, month, 1).timestamp()


def _sum(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else one + other
