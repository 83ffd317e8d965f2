"""Times to come, as people say them. Pure: what time it is now, and where, is told."""

from datetime import datetime, timedelta, tzinfo

_SECONDS_COUNT_S = 600.0
_AT_ONCE_S = 1.0


def clock(time_s: float, now_s: float, zone: tzinfo | None = None) -> str:
    """ "now", "14:10:25", "14:10", "tomorrow 03:00", "Fri 03:00", "2026-12-03 14:10".

    ``zone``: None is this machine's.
    """
    if abs(time_s - now_s) < _AT_ONCE_S:
        return "now"
    time, now = (datetime.fromtimestamp(one, zone).astimezone(zone) for one in (time_s, now_s))
    days = (time.date() - now.date()) / timedelta(days=1)
    if days == 0:
        near = abs(time_s - now_s) < _SECONDS_COUNT_S
        return f"{time:%H:%M:%S}" if near else f"{time:%H:%M}"
    if days == 1:
        return f"tomorrow {time:%H:%M}"
    return f"{time:%a %H:%M}" if 1 < days < 7 else f"{time:%Y-%m-%d %H:%M}"


def at(time_s: float, now_s: float, zone: tzinfo | None = None) -> str:
    """As ``clock``, after a verb: "at 14:10", but "tomorrow 03:00"."""
    said = clock(time_s, now_s, zone)
    return f"at {said}" if said[0].isdigit() and ":" in said.split(" ")[0] else said
