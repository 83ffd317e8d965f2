"""The ranks of this attempt: process groups and the device of this rank.

A group that the script has already made is used and left standing. In a world of one there is none.
A process group is never made anew in a living process: a restart or a resize is a new attempt with
new processes.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist

from headrace.train.environment import Environment
from headrace.train.torch_private import is_held_by_torch

_LENT = 8  # more than gloo has threads
_RETURN_S = 5.0
_RETURN_FAILED_S = 0.2


class Sum:
    """A sum over all ranks that is under way."""

    def __init__(self, values: torch.Tensor, work: dist.Work | None) -> None:
        self._under_way: tuple[torch.Tensor, dist.Work | None] | None = values, work

    def wait(self) -> list[float]:
        """Once: the tensor is then nobody's but gloo's and its lender's."""
        assert self._under_way is not None, "a sum is waited for once"
        (values, work), self._under_way = self._under_way, None
        if work is not None:
            work.wait()
        found: list[float] = values.tolist()
        return found


@dataclass(frozen=True, kw_only=True)
class Control:
    """Sums of a few numbers over all ranks, on the host (gloo).

    A thread of gloo lets go of a tensor some time after its sum is done, and needs the interpreter
    for that: where the interpreter has begun to end by then, the process dies of std::terminate. So
    the last tensors are kept here, and ``leave`` waits until gloo has let go of them.
    """

    group: dist.ProcessGroup
    lent: deque[torch.Tensor] = field(default_factory=lambda: deque(maxlen=_LENT))

    def start_sum(self, values: Sequence[float]) -> Sum:
        tensor = torch.tensor(values, dtype=torch.float64)
        self.lent.append(tensor)
        return Sum(tensor, dist.all_reduce(tensor, group=self.group, async_op=True))

    def leave(self, *, patience_s: float) -> None:
        """Wait until gloo holds nothing of ours; a sum that never ends is given up."""
        until = time.monotonic() + patience_s
        while self.lent and time.monotonic() < until:
            if is_held_by_torch(self.lent):
                time.sleep(0.0005)
            else:
                self.lent.clear()


@dataclass(frozen=True, kw_only=True)
class Group:
    """Models use the default group. ``control``: None in a world of one."""

    rank: int
    world_size: int
    device: torch.device
    control: Control | None
    owned: bool

    def start_sum(self, values: Sequence[float]) -> Sum:
        """Begin to sum each of a few numbers over all ranks."""
        if self.control is None:
            return Sum(torch.tensor(values, dtype=torch.float64), None)
        return self.control.start_sum(values)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each of a few numbers summed over all ranks. Waits."""
        return self.start_sum(values).wait()

    def from_first(self, value: int) -> int:
        """Rank 0's value on every rank. Waits."""
        return int(self.sum([value if self.rank == 0 else 0])[0])

    def lowest_rank(self, is_so: bool) -> int | None:
        """The first rank of which it is so; None when it is so nowhere. Waits."""
        found = self.sum([float(is_so and rank == self.rank) for rank in range(self.world_size)])
        return next((rank for rank, one in enumerate(found) if one > 0), None)

    def leave(self, *, failed: bool) -> None:
        """Destroy what ``join`` made. After a failure NCCL is left to the process's end: waiting
        for the collectives of dead peers would hide the error."""
        if self.control is not None:
            self.control.leave(patience_s=_RETURN_FAILED_S if failed else _RETURN_S)
        if failed and self.device.type == "cuda":
            return
        if self.owned:
            dist.destroy_process_group()
        elif self.control is not None:
            dist.destroy_process_group(self.control.group)


def join(environment: Environment) -> Group:
    """Meet the other ranks. Blocks until all are there."""
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", environment.local_rank % torch.cuda.device_count())
        torch.cuda.set_device(device)
    if environment.threads is not None:
        torch.set_num_threads(environment.threads)
    owned = environment.world_size > 1 and not dist.is_initialized()
    if owned:
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(
            backend,
            rank=environment.rank,
            world_size=environment.world_size,
            device_id=device if device.type == "cuda" else None,
        )
    parallel = environment.world_size > 1
    return Group(
        rank=environment.rank,
        world_size=environment.world_size,
        device=device,
        control=Control(group=dist.new_group(backend="gloo")) if parallel else None,
        owned=owned,
    )
