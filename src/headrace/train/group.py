"""The ranks of this attempt: process groups and the device of this rank.

A group that the script has already made is used and left standing. In a world of one there is none.
A process group is never made anew in a living process: a restart or a resize is a new attempt with
new processes.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist

from headrace.train.environment import Environment


@dataclass(frozen=True, kw_only=True)
class Group:
    """``control`` carries small host tensors (gloo); models use the default group."""

    rank: int
    world_size: int
    device: torch.device
    control: dist.ProcessGroup | None
    owned: bool

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum a small host tensor over all ranks, in place. Waits."""
        if self.control is not None:
            dist.all_reduce(values, group=self.control)
        return values

    def from_first(self, value: int) -> int:
        """Rank 0's value on every rank. Waits."""
        box = torch.tensor([value], dtype=torch.int64)
        if self.control is not None:
            dist.broadcast(box, src=0, group=self.control)
        return int(box[0])

    def leave(self, *, failed: bool) -> None:
        """Destroy what ``join`` made. After a failure NCCL is left to the process's end: waiting
        for the collectives of dead peers would hide the error."""
        if failed and self.device.type == "cuda":
            return
        if self.owned:
            dist.destroy_process_group()
        elif self.control is not None:
            dist.destroy_process_group(self.control)


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
        control=dist.new_group(backend="gloo") if parallel else None,
        owned=owned,
    )
