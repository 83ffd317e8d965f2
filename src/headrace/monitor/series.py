"""Curves made fit to look at: thinned out, smoothed, in words. Pure."""

from collections.abc import Sequence

from headrace.monitor.timeline import Cause

POINTS_MAX = 1500
Point = tuple[float, float]

TITLES = {
    Cause.QUEUE: "waiting in the queue",
    Cause.START_UP: "start-up",
    Cause.INIT_RESTORE: "init and restore",
    Cause.DATA: "waiting for data",
    Cause.FORWARD_BACKWARD: "forward and backward",
    Cause.SYNC: "communication",
    Cause.OPTIMIZER: "optimizer",
    Cause.CHECKPOINT: "checkpoint stalls",
    Cause.EVALUATE: "evaluation",
    Cause.LOST: "lost to restarts",
    Cause.OTHER: "other",
}


def thinned(points: Sequence[Point], limit: int = POINTS_MAX) -> list[Point]:
    """At most ``limit`` points that keep every peak: of each stretch, its lowest and highest."""
    if len(points) <= limit:
        return list(points)
    stretches = max(1, limit // 2)
    kept: list[Point] = []
    for number in range(stretches):
        start = number * len(points) // stretches
        stretch = points[start : (number + 1) * len(points) // stretches]
        ends = {min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])}
        kept.extend(sorted(ends))
    return kept


def averaged(points: Sequence[Point], limit: int = 300) -> list[Point]:
    """At most ``limit`` points, each the mean of its stretch."""
    count = min(limit, len(points))
    found = []
    for number in range(count):
        start = number * len(points) // count
        stretch = points[start : (number + 1) * len(points) // count]
        found.append(
            (sum(x for x, _ in stretch) / len(stretch), sum(y for _, y in stretch) / len(stretch))
        )
    return found


def smoothed(points: Sequence[Point], weight: float = 0.85) -> list[Point]:
    """Exponential averages from the left and from the right, halved: smooth, and not late."""
    forward = _averages([y for _, y in points], weight)
    backward = _averages([y for _, y in reversed(points)], weight)[::-1]
    return [
        (x, (left + right) / 2)
        for (x, _), left, right in zip(points, forward, backward, strict=True)
    ]


def _averages(values: Sequence[float], weight: float) -> list[float]:
    """Corrected for the missing past, as in Adam."""
    found, average, correction = [], 0.0, 1.0
    for value in values:
        average = weight * average + (1 - weight) * value
        correction *= weight
        found.append(average / (1 - correction))
    return found


def format_share(ratio: float) -> str:
    """ "82 %", or "<1 %" for what is there but small."""
    return "<1 %" if 0 < ratio < 0.005 else f"{100 * ratio:.0f} %"


def format_energy(energy_kwh: float) -> str:
    """ "12.3 kWh"; below a tenth in Wh."""
    return f"{energy_kwh:.3g} kWh" if energy_kwh >= 0.1 else f"{1000 * energy_kwh:.3g} Wh"


def sparkline(values: Sequence[float], width: int) -> str:
    """The last values, averaged into ``width`` block characters."""
    blocks = "▁▂▃▄▅▆▇█"
    if not values or width < 1:
        return ""
    width = min(width, len(values))
    means = []
    for number in range(width):
        start = number * len(values) // width
        stretch = values[start : (number + 1) * len(values) // width]
        means.append(sum(stretch) / len(stretch))
    low, high = min(means), max(means)
    scale = (len(blocks) - 1) / (high - low) if high > low else 0.0
    return "".join(blocks[round((mean - low) * scale)] for mean in means)
