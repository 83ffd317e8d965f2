"""What a session costs: the same model and data in a bare DDP loop and in a session's loop.

Promise: at most 1 % of a step. Two ranks of one thread each; both loops run in the same processes,
in alternating blocks, so that a busy machine slows both; medians over all steps. The small model
shows the fixed cost of a step. The session also all-reduces loss and count, agrees on stops, and
talks to an agent; the bare loop does not.

Run: ``.venv/bin/python benchmarks/session_overhead.py``
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from headrace import data, train
from headrace.train.batches import to_device
from headrace.workloads.language.model import Decoder, DecoderConfig, next_token_loss

WORLD = 2
PROMISE = 0.01
WARM_UP_STEPS = 4
# name: (width, layers, window, global batch, steps in a block, blocks)
SIZES = {
    "small, ~7 ms": (32, 2, 64, 8, 50, 10),
    "medium, ~40 ms": (64, 4, 128, 16, 20, 10),
    "as in the demo, ~200 ms": (128, 4, 256, 16, 10, 10),
}


def bare_steps(model: nn.Module, dataset: data.TokenDataset, global_batch: int) -> Iterator[float]:
    """Seconds of each step of a plain loop."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batches = data.batches(
        dataset, global_batch=global_batch, seed=7, rank=dist.get_rank(), world=WORLD
    )
    started_s = time.perf_counter()
    for batch in batches:
        micro = train.Micro(to_device(batch.samples, torch.device("cpu")))
        total, count = next_token_loss(model, micro)
        loss = total / count
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        yield time.perf_counter() - started_s
        started_s = time.perf_counter()


def session_steps(
    run: train.Session, decoder: nn.Module, dataset: data.TokenDataset, global_batch: int
) -> Iterator[float]:
    """Seconds of each step of a session's loop."""
    model = run.parallelize(decoder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    run.track(model=model, optimizer=optimizer)
    batches = run.batches(dataset, global_batch=global_batch, seed=7)
    started_s = time.perf_counter()
    for step in run.steps(batches, until=10**6):
        loss = step.backward(model, next_token_loss)
        run.clip_grad_norm(model, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        run.log(loss=loss)
        yield time.perf_counter() - started_s
        started_s = time.perf_counter()


def rank_main(corpus: str, size: str) -> None:
    """In a rank: print the medians of both loops as JSON."""
    width, layers, window, global_batch, block, blocks = SIZES[size]
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    dataset = data.open(corpus)
    config = DecoderConfig(vocab=dataset.vocab, width=width, layers=layers, window=window)
    with train.session() as run:
        bare = bare_steps(
            DistributedDataParallel(Decoder(config), gradient_as_bucket_view=True),
            dataset,
            global_batch,
        )
        ours = session_steps(run, Decoder(config), dataset, global_batch)
        bare_s: list[float] = []
        ours_s: list[float] = []
        list(islice(bare, WARM_UP_STEPS)), list(islice(ours, WARM_UP_STEPS))
        for _ in range(blocks):
            bare_s += list(islice(bare, block))[1:]
            ours_s += list(islice(ours, block))[1:]
        if run.rank == 0:
            print(json.dumps([statistics.median(bare_s), statistics.median(ours_s)]))
    dist.destroy_process_group()


def measure(size: str, folder: Path) -> tuple[float, float]:
    """Medians of a bare and a session's step, in seconds, on two fresh ranks."""
    corpus = folder / "corpus.tokens"
    text = folder / "corpus.txt"
    text.write_text("".join(f"{n} squared is {n * n}\n" for n in range(30_000)))
    data.pack_text([text], corpus, window=SIZES[size][2])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = []
    for rank in range(WORLD):
        agent, theirs = socket.socketpair()
        threading.Thread(target=drain, args=(agent,), daemon=True).start()
        place = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(WORLD),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
            "HEADRACE_RUN_DIR": str(folder / "run"),
            "HEADRACE_CHANNEL_FD": str(theirs.fileno()),
        }
        ranks.append(
            subprocess.Popen(
                [sys.executable, __file__, "--rank", str(corpus), size],
                env=os.environ | place,
                pass_fds=[theirs.fileno()],
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        theirs.close()
    outputs = [rank.communicate()[0] for rank in ranks]
    assert all(rank.returncode == 0 for rank in ranks), "a rank failed; see above"
    bare_s, ours_s = json.loads(outputs[0])
    return bare_s, ours_s


def drain(agent: socket.socket) -> None:
    while agent.recv(1 << 16):
        pass


def main() -> None:
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            bare_s, ours_s = measure(size, Path(folder))
        more = ours_s / bare_s - 1
        verdict = "kept" if more <= PROMISE else "MISSED"
        print(
            f"{size:24}  bare {bare_s * 1e3:8.2f} ms  session {ours_s * 1e3:8.2f} ms  "
            f"overhead {more:+7.2%}  promise {PROMISE:.0%}: {verdict}"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank"]:
        rank_main(*sys.argv[2:])
    else:
        main()
