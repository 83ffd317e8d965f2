"""Time in which a loop did not turn, and so heard nobody, whoever spoke. Pure.

A batch system suspends jobs (SIGSTOP, the freezer), also to run two in turns, and a write to a file
system that is out of reach waits. Who comes back from that must not hold silence against others.
"""

LONG_S = 10.0


class Gap:
    """Of a loop that turns every few seconds."""

    def __init__(self, now_s: float) -> None:
        self._seen_s = now_s

    def since_s(self, now_s: float) -> float:
        """Seconds since it was asked last if that is too long for a loop that turns, else 0."""
        gap_s, self._seen_s = now_s - self._seen_s, now_s
        return gap_s if gap_s > LONG_S else 0.0
