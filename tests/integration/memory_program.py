"""Trains a few steps. In its first attempt the disk fails after the first save, and the last rank
is killed once the node's memory has a later snapshot."""

import errno
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from headrace import data, train
from headrace.checkpoint import memory

CORPUS, STEPS, SAVED, KILL_AT = Path(sys.argv[1]), 8, 2, 7
memory._SPARE_BYTES = 0
first = os.environ["HEADRACE_ATTEMPT"] == "0"
real = os.pwrite


def failing(descriptor: int, part: memoryview, start: int) -> int:
    if f"step-{SAVED:09d}" not in os.readlink(f"/proc/self/fd/{descriptor}"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return real(descriptor, part, start)


def staged() -> bool:
    place = Path(os.environ.get("HEADRACE_MEMORY", "/nowhere"))
    return any(step > SAVED for step, _, _ in memory.snapshots(place))


def until(what: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 60
    while not what() and time.monotonic() < until_s:
        time.sleep(0.01)


if first:
    setattr(os, "pwrite", failing)  # noqa: B010 - its buffer is ours
with train.session(seed=3) as run:
    with run.init():
        model: nn.Module = nn.Embedding(512, 512)
    model = run.parallelize(model)
    optimizer = torch.optim.AdamW(model.parameters())
    run.track(model=model, optimizer=optimizer)
    batches = run.batches(data.open(CORPUS), global_batch=4, seed=1)
    for step in run.steps(batches, STEPS):
        if first and step.number == SAVED + 1:
            until((run.run_dir.checkpoints / f"step-{SAVED:09d}").is_dir)
        if first and step.number == KILL_AT and run.rank == run.world_size - 1:
            if "HEADRACE_MEMORY" in os.environ and os.environ["LOCAL_WORLD_SIZE"] != "1":
                until(staged)
            os.kill(os.getpid(), signal.SIGKILL)
        step.backward(model, lambda model, micro: (model(micro.samples).sum(), len(micro)))
        optimizer.step()
        optimizer.zero_grad()
