"""Plain text tables and times, the same on a terminal and in a pipe."""

from collections.abc import Sequence

from headrace.core.units import format_duration


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text, each column as wide as its widest cell, no blanks at line ends."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def ago(since_s: float | None, until_s: float) -> str:
    """ "1h30m", or "-" when it has not begun."""
    return "-" if since_s is None else format_duration(max(0, round(until_s - since_s)))
