"""The report's picture: loss, throughput, use of the machine, and where the time went (PNG).

Marks differ in shape as well as in colour. Any thread may draw.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from headrace.core.look import (
    BLUE,
    GREEN,
    GREY,
    GRID,
    INK,
    ORANGE,
    RED,
    dress,
    format_seconds,
    legend,
    png,
    time_unit,
)
from headrace.monitor.history import History
from headrace.monitor.report import Report, samples_per_s
from headrace.monitor.series import (
    TITLES,
    Point,
    averaged,
    format_energy,
    format_share,
    smoothed,
    thinned,
)
from headrace.monitor.timeline import Cause

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS = {
    Cause.QUEUE: "#c9d1d8",
    Cause.START_UP: "#9aa7b2",
    Cause.INIT_RESTORE: "#6f7f8c",
    Cause.DATA: "#f0e442",
    Cause.FORWARD_BACKWARD: BLUE,
    Cause.SYNC: "#56b4e9",
    Cause.OPTIMIZER: GREEN,
    Cause.CHECKPOINT: ORANGE,
    Cause.EVALUATE: "#cc79a7",
    Cause.LOST: RED,
    Cause.OTHER: "#eef1f3",
}
_GIB = 1 << 30


def draw(history: History, report: Report) -> bytes:
    """PNG, 1600 x 1120 pixels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.8, 8.96), dpi=125, facecolor="white")
    grid = figure.add_gridspec(
        3,
        2,
        height_ratios=(1, 1, 0.62),
        left=0.065,
        right=0.965,
        top=0.86,
        bottom=0.03,
        hspace=0.46,
        wspace=0.17,
    )
    figure.text(0.065, 0.952, report.run_id, fontsize=19, fontweight="bold", color=INK)
    figure.text(0.065, 0.921, _subtitle(report), fontsize=11, color=GREY)
    _loss(figure.add_subplot(grid[0, 0]), history)
    _throughput(figure.add_subplot(grid[1, 0]), history, report)
    unit, unit_s = time_unit(report.wall_s)
    for place, panel in ((grid[0, 1], _use), (grid[1, 1], _memory)):
        axes = figure.add_subplot(place)
        panel(axes, history, unit_s)
        _mark_attempts(axes, history, unit_s)
        axes.set_xlim(0, max(report.wall_s / unit_s, 1e-9))
        axes.set_xlabel(f"{unit} since submission", color=GREY, fontsize=9)
    _time(figure.add_subplot(grid[2, :]), report)
    return png(figure)


def _subtitle(report: Report) -> str:
    parts = [report.state, f"{format_seconds(report.wall_s)} in all"]
    if report.steps:
        parts.append(f"{report.steps:,} steps")
    if report.restarts:
        parts.append(f"{report.restarts} restart{'s' if report.restarts > 1 else ''}")
    if report.seconds and report.steps:
        parts.append(f"goodput {100 * report.goodput:.0f} %")
    energy = report.usage.energy
    if energy.total_kwh is not None:
        kind = "estimated" if energy.estimated_kwh else "measured"
        parts.append(f"{format_energy(energy.total_kwh)} ({kind})")
    return "   ·   ".join(parts)


def _loss(axes: "Axes", history: History) -> None:
    dress(axes, "Loss")
    kept = [
        (float(m.step), value)
        for m in history.kept_steps
        if (value := _finite(m.values)) is not None
    ]
    for attempt in sorted({step.attempt for step in history.steps if step.repeated}):
        redone = [
            (float(step.metric.step), value)
            for step in history.steps
            if step.repeated
            and step.attempt == attempt
            and (value := _finite(step.metric.values)) is not None
        ]
        axes.plot(*_xy(thinned(redone)), color=GREY, lw=1.2, ls=(0, (2, 2)), zorder=2)
    if not kept:
        _say(axes, "the program reported no loss")
        return
    smooth = len(kept) > 150
    axes.plot(*_xy(thinned(kept)), color=BLUE, lw=1.6, alpha=0.3 if smooth else 1.0, zorder=3)
    if smooth:
        axes.plot(*_xy(thinned(smoothed(kept))), color=BLUE, lw=2, zorder=4)
    _mark_steps(axes, history)
    values = sorted(value for _, value in kept)
    low, high = values[0], values[-1]
    if low > 0 and high / low > 20:
        axes.set_yscale("log")
    axes.annotate(
        f"{kept[-1][1]:.4g}",
        kept[-1],
        xytext=(-4, 9),
        textcoords="offset points",
        ha="right",
        color=BLUE,
        fontsize=10,
        fontweight="bold",
    )
    axes.set_xlabel("step", color=GREY, fontsize=9)
    legend(axes)


def _mark_steps(axes: "Axes", history: History) -> None:
    """Where each restart went on, and a triangle below each checkpoint that counted."""
    firsts: dict[int, int] = {}
    for step in history.steps:
        firsts.setdefault(step.attempt, step.metric.step)
    for position, (_, first) in enumerate(sorted(firsts.items())[1:]):
        label = "restart goes on here" if position == 0 else None
        axes.axvline(first, color=RED, lw=1.2, zorder=1, label=label)
    saved = sorted({checkpoint.step for checkpoint in history.checkpoints})
    if saved:
        axes.plot(
            saved,
            [0.03] * len(saved),
            transform=axes.get_xaxis_transform(),
            ls="",
            marker="^",
            ms=6 if len(saved) < 60 else 3,
            color=ORANGE,
            label="checkpoint",
            clip_on=False,
            zorder=5,
        )


def _throughput(axes: "Axes", history: History, report: Report) -> None:
    dress(axes, "Samples a second")
    rates = [(float(m.step), rate) for m, rate in samples_per_s(history.kept_steps)]
    if not rates or report.samples_per_s_median is None:
        _say(axes, "the program reported no samples")
        return
    axes.plot(*_xy(thinned(rates)), color=GREEN, lw=1.4, label="each step")
    median = report.samples_per_s_median
    axes.axhline(median, color=INK, lw=1, ls=(0, (4, 3)), label=f"median {median:,.4g}")
    axes.set_ylim(0, 1.18 * max(rate for _, rate in rates))
    axes.set_xlabel("step", color=GREY, fontsize=9)
    legend(axes)


def _use(axes: "Axes", history: History, unit_s: float) -> None:
    dress(axes, "Use of what was allocated, %")
    if not history.nodes:
        _say(axes, "nothing was sampled")
        return
    drawn: set[str] = set()
    for series in history.nodes:
        cpu = [((s.time_s - history.begin_s) / unit_s, 100 * s.cpu_ratio) for s in series.samples]
        axes.plot(*_xy(averaged(cpu)), color=BLUE, lw=1.4, label=_once(drawn, "CPU"))
        gpu = [
            (
                (s.time_s - history.begin_s) / unit_s,
                100 * sum(g.utilization_ratio for g in s.gpus) / len(s.gpus),
            )
            for s in series.samples
            if s.gpus
        ]
        if gpu:
            axes.plot(*_xy(averaged(gpu)), color=GREEN, lw=1.4, label=_once(drawn, "GPU"))
    axes.set_ylim(0, 105)
    legend(axes)


def _memory(axes: "Axes", history: History, unit_s: float) -> None:
    dress(axes, "Memory a node, GiB")
    if not history.nodes:
        _say(axes, "nothing was sampled")
        return
    drawn: set[str] = set()
    highest = 0.0
    for series in history.nodes:
        times = [(s.time_s - history.begin_s) / unit_s for s in series.samples]
        host = [s.memory_bytes / _GIB for s in series.samples]
        points = thinned(list(zip(times, host, strict=True)))
        axes.fill_between(*_xy(points), color=BLUE, alpha=0.12, lw=0)
        axes.plot(*_xy(points), color=BLUE, lw=1.4, label=_once(drawn, "host"))
        highest = max(highest, *host)
        gpu = [sum(g.memory_bytes for g in s.gpus) / _GIB for s in series.samples]
        if any(gpu):
            both = thinned(list(zip(times, gpu, strict=True)))
            axes.plot(*_xy(both), color=GREEN, lw=1.4, label=_once(drawn, "GPUs"))
            highest = max(highest, *gpu)
    axes.set_ylim(0, 1.2 * highest or 1.0)
    legend(axes)


def _mark_attempts(axes: "Axes", history: History, unit_s: float) -> None:
    """Shade the time in no attempt; a red line where one ended badly."""
    ends = [0.0]
    for attempt in history.attempts:
        start = (attempt.start_s - history.begin_s) / unit_s
        axes.axvspan(ends[-1], max(start, ends[-1]), color=GRID, lw=0, zorder=0)
        ends.append((attempt.end_s - history.begin_s) / unit_s)
        if attempt.outcome not in (None, "completed", "stopped"):
            axes.axvline(ends[-1], color=RED, lw=1.2, zorder=1)


def _time(axes: "Axes", report: Report) -> None:
    axes.set_axis_off()
    axes.set_title(
        f"Where {format_seconds(report.wall_s)} went", loc="left", color=INK, fontsize=12, pad=8
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    parts = [(cause, report.seconds[cause]) for cause in Cause if report.seconds[cause] > 0]
    left = 0.0
    for number, (cause, part_s) in enumerate(parts):
        width = part_s / report.wall_s
        axes.barh(0.87, width, left=left, height=0.26, color=_COLORS[cause], edgecolor="white")
        left += width
        column, row = number % 3, number // 3
        x, y = column / 3, 0.6 - 0.17 * row
        axes.plot([x + 0.006], [y], marker="s", ms=9, color=_COLORS[cause], clip_on=False)
        text = f"{TITLES[cause]}  {format_seconds(part_s)}  ({format_share(width)})"
        axes.text(x + 0.018, y, text, va="center", color=INK, fontsize=9.5)


def _say(axes: "Axes", text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=GREY, fontsize=11)
    axes.set_yticks([])
    axes.set_xticks([])


def _once(drawn: set[str], label: str) -> str | None:
    """A label for the first curve of its kind only."""
    if label in drawn:
        return None
    drawn.add(label)
    return label


def _finite(values: Mapping[str, float | None]) -> float | None:
    value = values.get("loss")
    return value if value is not None and math.isfinite(value) else None


def _xy(points: list[Point]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
