"""A comparison's picture (PNG): waits, waits by size, use and queue over time, waits by nodes.

Policies differ in the dashes of their lines as well as in colour.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from headrace.core.look import GREY, INK, dress, png, time_unit
from headrace.simulate.comparison import Comparison
from headrace.simulate.fidelity import HISTORY
from headrace.simulate.measure import Measures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)), (0, (3, 1)), "-", (0, (2, 3)))
_HOUR_S = 3600.0
_TICKS_S = {
    1: "≤ 1 s",
    10: "10 s",
    60: "1 min",
    600: "10 min",
    3600: "1 h",
    6 * 3600: "6 h",
    86_400: "1 d",
    7 * 86_400: "1 week",
    30 * 86_400: "30 d",
    365 * 86_400: "1 y",
}


class Style:
    """The look of a policy's line: the same in every panel."""

    def __init__(self, comparison: Comparison) -> None:
        names = [one.policy for one in comparison.measures if one.policy != HISTORY]
        self._number = {name: number for number, name in enumerate(names)}

    def line(self, policy: str) -> dict[str, Any]:
        if policy == HISTORY:
            return {"color": GREY, "ls": "-", "lw": 2.4}
        number = self._number[policy]
        dashes = _DASHES[number % len(_DASHES)]
        return {"color": self.color(policy), "ls": dashes, "lw": 1.8}

    def color(self, policy: str) -> str:
        return GREY if policy == HISTORY else _COLORS[self._number[policy] % len(_COLORS)]


def draw(comparison: Comparison) -> bytes:
    """PNG, 1600 pixels wide."""
    from matplotlib.figure import Figure

    rows = 3 if comparison.curves else 2
    height = 4.0 * rows + 0.8
    figure = Figure(figsize=(12.8, height), dpi=125, facecolor="white")
    grid = figure.add_gridspec(
        rows,
        2,
        left=0.065,
        right=0.97,
        top=1 - 1.35 / height,
        bottom=0.6 / height,
        hspace=0.4,
        wspace=0.16,
    )
    top = 1 - 0.25 / height
    subtitle = f"{comparison.jobs:,} jobs on {comparison.machine}"
    figure.text(0.065, top, comparison.trace, fontsize=17, fontweight="bold", color=INK, va="top")
    figure.text(0.97, top, subtitle, fontsize=11, color=GREY, va="top", ha="right")
    style = Style(comparison)
    _names(figure, comparison, style, 1 - 0.6 / height)
    _waits(figure.add_subplot(grid[0, 0]), comparison, style)
    _sizes(figure.add_subplot(grid[0, 1]), comparison, style)
    _used(figure.add_subplot(grid[1, 0]), comparison, style)
    _queue(figure.add_subplot(grid[1, 1]), comparison, style)
    if comparison.curves:
        _nodes(figure.add_subplot(grid[2, :]), comparison, style)
    return png(figure)


def _names(figure: "Figure", comparison: Comparison, style: Style, y: float) -> None:
    """One legend for all panels."""
    from matplotlib.lines import Line2D

    names = [one.policy for one in comparison.measures]
    figure.legend(
        [Line2D([], [], **style.line(name)) for name in names],
        names,
        loc="upper left",
        bbox_to_anchor=(0.058, y),
        ncols=min(8, len(names)),
        frameon=False,
        fontsize=10,
        labelcolor=INK,
        handlelength=2.6,
        columnspacing=1.8,
    )


def _waits(axes: "Axes", comparison: Comparison, style: Style) -> None:
    dress(axes, "Jobs that waited no longer, %")
    longest = 60.0
    for one in comparison.measures:
        if one.wait_quantiles:
            shares = [100 * share for share, _ in one.wait_quantiles]
            waits = [max(1.0, wait_s) for _, wait_s in one.wait_quantiles]
            longest = max(longest, waits[-1])
            axes.plot(waits, shares, **style.line(one.policy))
    axes.set_xscale("log")
    axes.set_xlim(1, longest * 1.1)
    axes.set_ylim(0, 101)
    _time_ticks(axes, "x", 1.0, longest)
    axes.set_xlabel("wait", color=GREY, fontsize=9)


def _sizes(axes: "Axes", comparison: Comparison, style: Style) -> None:
    shown = comparison.measures
    means = [
        {group.name: group.wait_s.mean for group in one.by_size if group.wait_s} for one in shown
    ]
    names = list(dict.fromkeys(group.name for one in shown for group in one.by_size))
    unit, unit_s = time_unit(
        max((wait_s for known in means for wait_s in known.values()), default=0)
    )
    dress(axes, f"Mean wait by size of job, {unit}")
    width = 0.8 / max(1, len(shown))
    for number, (one, known) in enumerate(zip(shown, means, strict=True)):
        heights = [known.get(name, 0.0) / unit_s for name in names]
        places = [at + (number - (len(shown) - 1) / 2) * width for at in range(len(names))]
        axes.bar(places, heights, width * 0.92, color=style.color(one.policy))
    turned = len(names) > 6
    axes.set_xticks(
        range(len(names)), names, rotation=25 if turned else 0, ha="right" if turned else "center"
    )
    axes.set_ylim(bottom=0)


def _used(axes: "Axes", comparison: Comparison, style: Style) -> None:
    dress(axes, f"{comparison.measures[0].use.resource}s in use, %")
    _over_time(axes, comparison, style, lambda one: [100 * share for share in one.course.used])
    axes.set_ylim(0, 105)


def _queue(axes: "Axes", comparison: Comparison, style: Style) -> None:
    dress(axes, "Jobs waiting")
    _over_time(axes, comparison, style, lambda one: list(one.course.waiting))
    axes.set_ylim(bottom=0)


def _over_time(
    axes: "Axes",
    comparison: Comparison,
    style: Style,
    values: Callable[[Measures], Sequence[float]],
) -> None:
    shown = [one for one in comparison.measures if one.course.used]
    if not shown:
        return
    begin_s = min(one.course.begin_s for one in shown)
    unit, unit_s = time_unit(max(one.makespan_s for one in shown))
    for one in shown:
        course = one.course
        first = (course.begin_s - begin_s) / unit_s
        step = course.step_s / unit_s
        edges = [first + step * number for number in range(len(course.used) + 1)]
        axes.stairs(values(one), edges, baseline=None, **_thin(style.line(one.policy)))
    axes.set_xlim(0)
    axes.set_xlabel(f"{unit} since the first submission", color=GREY, fontsize=9)


def _thin(line: dict[str, Any]) -> dict[str, Any]:
    return {**line, "lw": 1.1}


def _nodes(axes: "Axes", comparison: Comparison, style: Style) -> None:
    curves = [
        (one.policy, [(p.nodes, p.wait_s.p90) for p in one.points if p.wait_s])
        for one in comparison.curves
    ]
    longest = max((wait_s for _, points in curves for _, wait_s in points), default=1.0)
    unit, unit_s = time_unit(longest)
    dress(axes, f"Wait of 9 of 10 jobs by number of nodes, {unit}")
    for name, points in curves:
        nodes, waits = [n for n, _ in points], [wait_s / unit_s for _, wait_s in points]
        axes.plot(nodes, waits, marker="o", ms=5, **style.line(name))
    axes.set_ylim(0, max(longest / unit_s, 1e-9) * 1.08)
    axes.set_xticks(sorted({p.nodes for one in comparison.curves for p in one.points}))
    axes.set_xlabel("nodes", color=GREY, fontsize=9)


def _time_ticks(axes: "Axes", which: str, low_s: float, high_s: float) -> None:
    ticks = {at: text for at, text in _TICKS_S.items() if low_s <= at <= high_s * 1.1}
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks(list(ticks), list(ticks.values()))
    axis.set_ticks([], minor=True)
