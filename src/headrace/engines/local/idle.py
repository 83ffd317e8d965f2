"""The idle-GPU rule: a run whose GPUs all stand at 0 % is warned, then cancelled. Pure.

NVML's utilisation is that of the last second or so, and it is looked at a few times a minute: one
look that finds a GPU of the run at work begins its time anew. A GPU that does not answer counts as
at work, and so does a run that was just given its place.
"""

from collections.abc import Mapping, Sequence
from math import inf
from typing import NamedTuple

from headrace.engines.local.site import IdleGpu

_LOOKS = 10  # before the first consequence
_LONGEST_S = 30.0


class Idle(NamedTuple):
    """``what``: warn or cancel."""

    run_id: str
    what: str
    idle_s: float


class IdleGpus:
    """``due_s``: when to ``look`` next."""

    def __init__(self, rule: IdleGpu) -> None:
        self._rule = rule
        first_s = min(rule.warn_after_s or inf, rule.cancel_after_s or inf)
        self._period_s = min(_LONGEST_S, max(1.0, first_s / _LOOKS))
        self._busy_s: dict[str, float] = {}
        self._warned: set[str] = set()
        self.due_s = -inf if first_s < inf else inf

    def look(
        self, now_s: float, held: Mapping[str, Sequence[int]], busy: Mapping[int, float]
    ) -> list[Idle]:
        """``held``: the GPUs of each run that has some; ``busy``: utilisation of each, 0 to 1."""
        self.due_s = now_s + self._period_s
        found = []
        for run_id, gpus in held.items():
            works = any(busy.get(gpu, 1.0) > 0.0 for gpu in gpus)
            if works or run_id not in self._busy_s:
                self._busy_s[run_id] = now_s
                self._warned.discard(run_id)
                continue
            idle_s = now_s - self._busy_s[run_id]
            if idle_s >= (self._rule.cancel_after_s or inf):
                found.append(Idle(run_id, "cancel", idle_s))
            elif idle_s >= (self._rule.warn_after_s or inf) and run_id not in self._warned:
                self._warned.add(run_id)
                found.append(Idle(run_id, "warn", idle_s))
        for run_id in self._busy_s.keys() - held.keys():
            del self._busy_s[run_id]
            self._warned.discard(run_id)
        return found
