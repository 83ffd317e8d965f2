"""What to do with a sample whose bytes are not those that were indexed: raise, or leave it out.

Never silent: what is left out is counted, kept in a report, and too much of it is an error.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from headrace.core.records import Record
from headrace.data.errors import DamagedData, TooMuchDamage

OnDamage = Literal["raise", "quarantine"]
LEAST_SEEN = 1024  # a share of fewer samples than this says little
KEPT = 10_000


class Damage(Record, frozen=True, kw_only=True):
    """One unit that is damaged: bytes ``[start, stop)`` of ``path``, needed by sample ``index``."""

    index: int
    path: str
    start: int
    stop: int
    why: str

    def error(self) -> DamagedData:
        return DamagedData(
            Path(self.path), self.why, start=self.start, stop=self.stop, sample=self.index
        )


@dataclass(kw_only=True)
class Quarantine:
    """Counts what was left out. ``most``: the share of samples read that may be damaged.

    ``report`` holds the first damage of each sample, at most ``KEPT`` of them; ``left_out`` counts
    every time that one was left out.
    """

    most: float
    seen: int = 0
    left_out: int = 0
    report: dict[int, Damage] = field(default_factory=dict)

    def count(self, samples: int, damaged: Iterable[Damage]) -> list[Damage]:
        """Take note of a batch of ``samples`` that were asked for; return what is newly damaged.

        Raise ``TooMuchDamage`` once more than ``most`` of them (counting at least ``LEAST_SEEN``)
        were damaged.
        """
        self.seen += samples
        new = []
        for one in damaged:
            self.left_out += 1
            if one.index not in self.report and len(self.report) < KEPT:
                self.report[one.index] = one
                new.append(one)
        if self.left_out > self.most * max(self.seen, LEAST_SEEN):
            raise TooMuchDamage(self.left_out, self.seen, most=self.most, last=self._last())
        return new

    def _last(self) -> str:
        one = next(reversed(self.report.values()))
        return f"sample {one.index}, {one.path} bytes {one.start} to {one.stop}"
