"""A comparison as rows of text, the same on a terminal, in a page and in a notebook."""

from collections.abc import Callable, Sequence
from math import inf
from typing import NamedTuple

from headrace.core.look import format_seconds
from headrace.simulate.comparison import Comparison
from headrace.simulate.fidelity import HISTORY
from headrace.simulate.measure import Group, Measures, Spread

_TOP = 10


class Row(NamedTuple):
    """``cells``: one a column of the comparison. ``best``: the columns that are better than others.

    History is no candidate: it cannot be chosen.
    """

    label: str
    cells: tuple[str, ...]
    best: frozenset[int] = frozenset()


class _Line(NamedTuple):
    label: str
    value: Callable[[Measures], float | None]
    text: Callable[[float], str]
    sign: int  # 1: less is better; -1: more is better; 0: neither


def heads(comparison: Comparison) -> tuple[str, ...]:
    return tuple(one.policy for one in comparison.measures)


def summary(comparison: Comparison) -> list[Row]:
    """One row a measure; those that nothing says anything about are left out."""
    rows = [_row(line, comparison.measures) for line in _lines(comparison.measures)]
    rows[6:6] = _certain(comparison)
    if comparison.worse_off and comparison.users:
        policies = heads(comparison)
        of = f" of {comparison.users:,}"
        cells = [
            f"{comparison.worse_off[name]:,}{of}" if name in comparison.worse_off else "-"
            for name in policies
        ]
        rows.append(Row("users worse off by > 10 %", tuple(cells)))
    return [row for row in rows if any(cell not in ("-", "0") for cell in row.cells)]


def _lines(measures: Sequence[Measures]) -> list[_Line]:
    unit = measures[0].use.resource
    return [
        *(
            _Line(f"wait, {name}", _of("wait_s", name), format_seconds, 1)
            for name in ("mean", "median", "p90", "p95", "p99", "max")
        ),
        _Line("slowdown, mean", _of("slowdown", "mean"), _figure, 1),
        _Line("slowdown, p95", _of("slowdown", "p95"), _figure, 1),
        _Line("completion, mean", _of("completion_s", "mean"), format_seconds, 1),
        _Line(f"{unit}s in use", lambda one: one.use.share, _percent, -1),
        _Line("  middle 80 % of time", lambda one: one.use.share_middle, _percent, -1),
        *(
            _Line(f"{use.resource}s in use", _second_use, _percent, -1)
            for use in measures[0].uses[1:]
        ),
        _Line(f"{unit} hours", lambda one: one.use.allocated_h, _count, 0),
        _Line("  lost of them", lambda one: one.use.lost_h, _count, 1),
        _Line("fairness over users", lambda one: one.jain, _two_digits, -1),
        _Line("share error of accounts", lambda one: one.share_error, _percent, 1),
        _Line("makespan", lambda one: one.makespan_s, format_seconds, 1),
        _Line("preemptions", lambda one: one.preempted, _count, 1),
        _Line("stopped by node failures", lambda one: one.node_failures, _count, 0),
        _Line("never started", lambda one: sum(one.never_started.values()), _count, 0),
    ]


def _of(spread: str, statistic: str) -> Callable[[Measures], float | None]:
    def value(one: Measures) -> float | None:
        found: Spread | None = getattr(one, spread)
        return None if found is None else float(getattr(found, statistic))

    return value


def _second_use(one: Measures) -> float | None:
    return one.uses[1].share if len(one.uses) > 1 else None


def _row(line: _Line, measures: Sequence[Measures]) -> Row:
    values = [line.value(one) for one in measures]
    cells = tuple("-" if value is None else line.text(value) for value in values)
    chosen = [number for number, one in enumerate(measures) if one.policy != HISTORY]
    return Row(line.label, cells, _best(values, cells, chosen, line.sign))


def _best(
    values: Sequence[float | None], cells: Sequence[str], chosen: Sequence[int], sign: int
) -> frozenset[int]:
    known = [number for number in chosen if values[number] is not None]
    if not sign or len({cells[number] for number in known}) < 2:
        return frozenset()

    def rank(number: int) -> float:
        value = values[number]
        return inf if value is None else sign * value

    best = min(known, key=rank)
    return frozenset(number for number in known if cells[number] == cells[best])


def _certain(comparison: Comparison) -> list[Row]:
    """The intervals of the mean wait, below the waits."""
    if not comparison.certainties:
        return []
    known = {one.policy: one.mean_s for one in comparison.certainties}
    cells = [
        f"{format_seconds(known[name].low)} to {format_seconds(known[name].high)}"
        if name in known
        else "-"
        for name in heads(comparison)
    ]
    return [Row("mean wait, 95 % interval", tuple(cells))]


GROUPS = {
    "size": ("by_size", "Mean wait by size"),
    "user": ("by_user", "Mean wait by user, the ten with the most hours"),
    "account": ("by_account", "Mean wait by account, the ten with the most hours"),
    "partition": ("by_partition", "Mean wait by partition, the ten with the most hours"),
}
"""What groups are by -> the field of the measures, and a title."""


def by(comparison: Comparison, what: str) -> list[Row]:
    """Mean waits of groups: all sizes in order, else the ten groups with the most hours."""
    found: list[dict[str, Group]] = [
        {group.name: group for group in getattr(one, GROUPS[what][0])}
        for one in comparison.measures
    ]
    if not found or not found[-1]:
        return []
    last = list(found[-1].values())
    if what != "size":
        last = sorted(last, key=lambda group: -group.hours)[:_TOP]
    rows = []
    for group in last:
        waits = [of.get(group.name) for of in found]
        line = _Line(f"{group.name} ({group.jobs:,})", lambda _: None, format_seconds, 1)
        values = [one.wait_s.mean if one and one.wait_s else None for one in waits]
        cells = tuple("-" if value is None else line.text(value) for value in values)
        chosen = [n for n, one in enumerate(comparison.measures) if one.policy != HISTORY]
        rows.append(Row(line.label, cells, _best(values, cells, chosen, 1)))
    return rows


def curve_rows(comparison: Comparison) -> list[Row]:
    """90th percentile waits by number of nodes; one column a curve."""
    if not comparison.curves:
        return []
    rows = []
    for points in zip(*(one.points for one in comparison.curves), strict=True):
        cells = tuple(format_seconds(p.wait_s.p90) if p.wait_s else "-" for p in points)
        rows.append(Row(f"{points[0].added:+d} ({points[0].nodes:,} nodes)", cells))
    return rows


def enough(comparison: Comparison, p90_wait_s: float) -> list[str]:
    """For each curve: the fewest nodes with which 9 of 10 jobs wait no longer than this."""
    wait, lines = format_seconds(p90_wait_s), []
    for one in comparison.curves:
        found, most = one.smallest(p90_wait_s), one.points[-1].added
        if found is None:
            lines.append(f"{one.policy}: up to {most:+d} nodes, 9 of 10 jobs wait beyond {wait}")
        else:
            nodes = f"{found.added:+d} nodes ({found.nodes:,} in all)"
            lines.append(f"{one.policy}: {nodes} keep 9 of 10 waits under {wait}")
    return lines


def never_started(comparison: Comparison) -> list[str]:
    """One sentence a reason, as counted under the first policy."""
    for one in comparison.measures:
        if one.policy != HISTORY:
            return [f"{count:,} never started: {why}" for why, count in one.never_started.items()]
    return []


def _figure(value: float) -> str:
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def _two_digits(value: float) -> str:
    return f"{value:.2f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _count(value: float) -> str:
    return f"{value:,.0f}"
