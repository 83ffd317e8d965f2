"""Ranks that save together over and over, of which one is killed at a random moment.

``ROOT ROUNDS SEED``: one process that has loaded torch forks the ranks of each round; a round goes
on from the newest checkpoint at a random number of ranks. After each round every committed
checkpoint is read and compared. ``ROOT``: of two ranks one is killed in its second save; the other
lives on. Prints one line of JSON.
"""

import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from multiprocessing.context import ForkContext
from pathlib import Path

import torch

from headrace import checkpoint
from headrace.checkpoint import saver as saver_module
from headrace.checkpoint.retention import Keep

WIDTH = 40_000
VALUES = 200


class ForkedRank:
    """Sums over processes that were forked together."""

    def __init__(self, rank: int, world_size: int, context: ForkContext) -> None:
        self.rank = rank
        self.world_size = world_size
        self._barrier = context.Barrier(world_size)
        self._values = context.RawArray("d", world_size * VALUES)

    def of(self, rank: int) -> "ForkedRank":
        self.rank = rank
        return self

    def sum(self, values: Sequence[float], /) -> list[float]:
        start = self.rank * VALUES
        self._values[start : start + len(values)] = list(values)
        self._barrier.wait()
        total = [
            sum(self._values[rank * VALUES + place] for rank in range(self.world_size))
            for place in range(len(values))
        ]
        self._barrier.wait()
        return total


def snapshot(step: int) -> checkpoint.Snapshot:
    tensors = {f"w{n}": torch.full((n + 1, WIDTH), float(step)) for n in range(5)}
    return checkpoint.Snapshot(step, tensors, {"step": step}, same_on_all=["w1", "w2", "w3", "w4"])


def train(ranks: ForkedRank, root: Path, steps: int) -> None:
    found = checkpoint.load_newest(root)
    saver = checkpoint.Saver(root, keep=Keep(2), ranks=ranks, patience_s=30.0)
    first = 0 if found is None else found.step
    for step in range(first + 1, first + 1 + steps):
        saver.stage(snapshot(step), must=True)
    saver.close()


def play_round(root: Path, world: int, steps: int) -> list[int]:
    """Start the ranks; their process ids."""
    shared = ForkedRank(0, world, multiprocessing.get_context("fork"))
    started = []
    for rank in range(world):
        pid = os.fork()
        if pid == 0:
            try:
                train(shared.of(rank), root, steps)
            finally:
                os._exit(0)
        started.append(pid)
    return started


def killed(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def lose_a_writer(root: Path) -> dict[str, object]:
    """What the first rank says of a save in which the other rank was killed, and how long it
    waited for it."""
    saver_module.LEAST_PATIENCE_S = 0.5
    shared = ForkedRank(0, 2, multiprocessing.get_context("fork"))
    pid = os.fork()
    ranks = shared.of(1 if pid == 0 else 0)
    saver = checkpoint.Saver(root, ranks=ranks)
    saver.stage(snapshot(1))
    saver.wait()
    if pid == 0:
        saver_module.contribute = killed  # type: ignore[assignment, attr-defined]
    saver.stage(snapshot(2), must=True)
    began_s = time.monotonic()
    saver.close()
    waited_s = time.monotonic() - began_s
    os.waitpid(pid, 0)
    failed = saver.poll()[-1]
    return {"step": failed.step, "reason": getattr(failed, "reason", ""), "waited_s": waited_s}


def check(root: Path) -> int:
    """Every committed checkpoint is whole. Return the newest step, 0 without any."""
    for path in root.glob("step-*"):
        found = checkpoint.load(path)
        assert found.state == {"step": found.step}, found.state
        assert len(found.tensors) == 5
        assert all(bool((one == found.step).all()) for one in found.tensors.values()), path
        checkpoint.verify(path)
    newest = checkpoint.load_newest(root)
    return 0 if newest is None else newest.step


def main() -> None:
    torch.set_num_threads(1)
    root = Path(sys.argv[1])
    if len(sys.argv) == 2:
        sys.stdout.write(json.dumps(lose_a_writer(root)) + "\n")
        return
    rounds, seed = int(sys.argv[2]), int(sys.argv[3])
    draw = random.Random(seed)
    newest, left = 0, 0
    for _ in range(rounds):
        ranks = play_round(root, draw.randint(2, 4), 10_000)
        time.sleep(draw.uniform(0.02, 0.8))
        os.kill(draw.choice(ranks), signal.SIGKILL)
        time.sleep(draw.uniform(0.0, 0.2))  # the others save on, until they miss it
        for pid in ranks:
            os.kill(pid, signal.SIGKILL)
        for pid in ranks:
            os.waitpid(pid, 0)
        left += any(root.glob(".step-*"))
        step = check(root)
        assert step >= newest, (step, newest)
        newest = step
    for pid in play_round(root, 3, 2):
        os.waitpid(pid, 0)
    assert check(root) == newest + 2
    assert not list(root.glob(".step-*"))
    sys.stdout.write(json.dumps({"steps": newest, "rounds_with_leftovers": left}) + "\n")


if __name__ == "__main__":
    main()
