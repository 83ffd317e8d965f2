"""All ranks do the same thing at the same step, and no device is waited for.

A wish of any rank is a wish of all. In training wishes ride on the sum of counts that every step
makes anyway on the host, beside its backward (``train.step``), so that agreeing costs nothing: an
all-reduce of its own costs a step up to a millisecond where all cores are busy. Where there is no
such sum, ranks meet for it.
"""

from enum import IntFlag

import torch
import torch.distributed as dist


class Wish(IntFlag):
    NOTHING = 0
    STOP = 1
    SAVE = 2


class Agreement:
    """``group`` is None in a world of one: then what is wished is agreed."""

    def __init__(self, group: dist.ProcessGroup | None) -> None:
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
        if self._group is None:
            return wish
        wishes = torch.tensor([int(wish)], dtype=torch.int64)
        dist.all_reduce(wishes, op=dist.ReduceOp.BOR, group=self._group)
        return Wish(int(wishes[0]))
