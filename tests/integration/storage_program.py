"""A rank that reads a data set and saves checkpoints on a shared folder; told what to do by lines.

``read N``: N batches. ``save STEP``: stage, then read batches until the save has ended. ``load``:
the newest checkpoint. Answers are lines of JSON. Rank 0 commits; both write.
"""

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from headrace import checkpoint, data
from headrace.core.errors import HeadraceError

STATE_BYTES = 96 << 20
GLOBAL_BATCH = 64


@dataclass(frozen=True)
class Ranks:
    rank: int
    world_size: int

    def sum(self, values: Sequence[float], /) -> list[float]:
        both = torch.tensor(list(values), dtype=torch.float64)
        dist.all_reduce(both)
        summed: list[float] = both.tolist()
        return summed


def say(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def snapshot(step: int) -> checkpoint.Snapshot:
    """Two halves, so that both ranks have one to write."""
    numbers = torch.arange(STATE_BYTES // 8, dtype=torch.float32) + step
    tensors = {"model/a": numbers, "model/b": numbers * 2}
    return checkpoint.Snapshot(step, tensors, {"step": step}, same_on_all=tuple(tensors))


class Program:
    def __init__(self, folder: Path, ranks: Ranks) -> None:
        self.folder = folder
        self.dataset = data.open(folder / "corpus.tokens")
        self.ranks = ranks
        self.batches = data.batches(
            self.dataset,
            global_batch=GLOBAL_BATCH,
            seed=7,
            rank=ranks.rank,
            world=ranks.world_size,
        )
        self.saver = checkpoint.Saver(folder / "ckpt", ranks=ranks, patience_s=20.0)
        self.saver.prepare(snapshot(0))

    def resumed(self) -> data.Batches:
        """The batches after those that were read."""
        return data.resume(
            self.dataset,
            self.batches.state,
            global_batch=GLOBAL_BATCH,
            seed=7,
            rank=self.ranks.rank,
            world=self.ranks.world_size,
        )

    def read(self, count: int) -> None:
        digest, size_bytes, begun_s = hashlib.sha256(), 0, time.monotonic()
        for _ in range(count):
            samples = next(self.batches).samples
            digest.update(samples.tobytes())
            size_bytes += samples.nbytes
        took_s = time.monotonic() - begun_s
        say(digest=digest.hexdigest(), bytes_s=size_bytes / took_s)

    def save(self, step: int) -> None:
        staged = self.saver.stage(snapshot(step), must=True)
        say(staged=type(staged).__name__)
        size_bytes, unread, begun_s = 0, "", time.monotonic()
        while not self.saver.wait(0.5 if unread else 0.02):
            try:
                size_bytes += next(self.batches).samples.nbytes
            except HeadraceError as error:
                unread = error.why
                self.batches = self.resumed()
        took_s = time.monotonic() - begun_s
        reports = [
            {"what": type(one).__name__, "step": one.step, "reason": getattr(one, "reason", "")}
            for one in self.saver.poll()
        ]
        say(reports=reports, seconds=took_s, read_bytes_s=size_bytes / took_s, unread=unread)

    def load(self) -> None:
        found = checkpoint.load_newest(self.folder / "ckpt")
        if found is None:
            say(step=None)
            return
        wanted = snapshot(found.step).tensors
        equal = all(torch.equal(found.tensors[name], tensor) for name, tensor in wanted.items())
        say(step=found.step, equal=equal, skipped=len(found.skipped))


def main() -> None:
    folder, rank, world, address = sys.argv[1:]
    dist.init_process_group(
        "gloo", init_method=f"tcp://{address}", rank=int(rank), world_size=int(world)
    )
    program = Program(Path(folder), Ranks(int(rank), int(world)))
    say(ready=True)
    for line in sys.stdin:
        verb, *number = line.split()
        if verb == "read":
            program.read(int(number[0]))
        elif verb == "save":
            program.save(int(number[0]))
        else:
            program.load()


if __name__ == "__main__":
    main()
