"""All ranks do the same thing at the same step, and no device is waited for.

A wish of any rank is a wish of all. In training wishes ride on the sum of counts that every step
makes anyway on the host, beside its backward (``train.step``), so that agreeing costs nothing: an
all-reduce of its own costs a step up to a millisecond where all cores are busy. Where there is no
such sum, ranks meet for it.
"""

from collections.abc import Sequence
from enum import IntFlag
from functools import reduce
from operator import or_

from headrace.train.group import Group


class Wish(IntFlag):
    NOTHING = 0
    STOP = 1
    SAVE = 2

    def as_counts(self) -> list[float]:
        """How often this rank wishes each: what is summed over the ranks."""
        return [float(one in self) for one in Wish]


def wish_of(counts: Sequence[float]) -> Wish:
    """What any rank wished."""
    wished = [one for one, ranks in zip(Wish, counts, strict=True) if ranks > 0]
    return reduce(or_, wished, Wish.NOTHING)


class Agreement:
    def __init__(self, group: Group) -> None:
        self._group = group
        self._heard: Wish | None = None

    def hear(self, wish: Wish) -> None:
        """What a step's sum has carried; the same on all ranks."""
        self._heard = wish if self._heard is None else self._heard | wish

    def at_boundary(self, wish: Wish) -> Wish:
        """What the steps since the last boundary have carried; without any, ``settle``."""
        heard, self._heard = self._heard, None
        return self.settle(wish) if heard is None else heard

    def settle(self, wish: Wish) -> Wish:
        """Agree now. Waits for all ranks."""
        return wish_of(self._group.sum(wish.as_counts()))
