"""Where the time of a step goes: one cause at a time, no gaps, no device synchronised.

Times are of the host. On a GPU the cause that waits for the device (mostly ``sync`` and ``log``)
carries the device's time; ``step_s`` is right either way.
"""

from collections.abc import Callable
from types import TracebackType

OWN_CODE = "optimizer"  # what is left in the loop's body: clipping, the optimizer, the scheduler


class Stopwatch:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._cause = OWN_CODE
        self._began_s = self._since_s = clock()
        self._seconds: dict[str, float] = {}

    def switch(self, cause: str) -> str:
        """Time from now on belongs to ``cause``. Return the cause so far."""
        now_s = self._clock()
        before = self._cause
        self._seconds[before] = self._seconds.get(before, 0.0) + now_s - self._since_s
        self._cause, self._since_s = cause, now_s
        return before

    def during(self, cause: str) -> "During":
        """``with watch.during("data"):``; inner causes are taken out of outer ones."""
        return During(self, cause)

    def lap(self) -> tuple[float, dict[str, float]]:
        """Seconds since the last lap, whole and by cause; start the next."""
        self.switch(self._cause)
        step_s = self._since_s - self._began_s
        seconds, self._seconds, self._began_s = self._seconds, {}, self._since_s
        return step_s, seconds


class During:
    def __init__(self, watch: Stopwatch, cause: str) -> None:
        self._watch = watch
        self._cause = cause
        self._before = OWN_CODE

    def __enter__(self) -> None:
        self._before = self._watch.switch(self._cause)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watch.switch(self._before)
