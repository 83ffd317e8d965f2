"""All ranks do the same thing at the same step, without anyone waiting for it.

One integer of wishes is all-reduced with a bitwise or on a CPU group. It is launched at the start
of step s and read at the start of step s + 1, long after it has arrived; so a wish of any rank
takes effect on all ranks at the same boundary, one step later, and no device is waited for.
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
        self._wishes = torch.zeros(1, dtype=torch.int64)
        self._work: dist.Work | None = None

    def launch(self, wish: Wish) -> None:
        """Say what this rank wishes. One at a time: ``read`` comes before the next."""
        self._wishes[0] = int(wish)
        if self._group is not None:
            self._work = dist.all_reduce(
                self._wishes, op=dist.ReduceOp.BOR, group=self._group, async_op=True
            )

    def read(self) -> Wish:
        """What any rank wished at the last launch; nothing if there was none since the last read.
        Afterwards nothing is under way on any rank."""
        if self._work is not None:
            self._work.wait()
            self._work = None
        agreed = Wish(int(self._wishes[0]))
        self._wishes[0] = 0
        return agreed
