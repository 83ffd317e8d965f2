"""A training program whose model may be split over the ranks, for tests of resuming otherwise.

Shapes divide by no number of ranks, and an embedding is tied. Prints one line of JSON: step, loss,
and a digest of every whole tensor of the state, when restored and at the end.
"""

import argparse
import hashlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from headrace import data, train
from headrace.train.state import capture, sort_tracked


class Net(nn.Module):
    def __init__(self, vocab: int, half: torch.dtype) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, 10)
        self.few = nn.Linear(10, 3)
        self.narrow = nn.Sequential(nn.Linear(3, 13, dtype=half), nn.Tanh())
        self.narrow_type = half
        self.back = nn.Linear(13, 10)
        self.head = nn.Linear(10, vocab, bias=False)
        self.head.weight = self.embedding.weight
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, tokens: Tensor) -> Tensor:
        few = self.few(self.embedding(tokens))
        hidden = self.narrow(few.to(self.narrow_type)).float()
        self.calls += 1
        logits: Tensor = self.head(torch.tanh(self.back(hidden)))
        return logits


def split(net: Net, layout: str, world: int) -> nn.Module:
    if layout in ("ddp", "job"):
        return net
    shape, names = ((world,), ("fsdp",)) if layout == "fsdp" else ((2, world // 2), ("dp", "fsdp"))
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=names)
    fully_shard(net.narrow, mesh=mesh)
    fully_shard(net, mesh=mesh)
    return net


def digests(**objects: object) -> dict[str, str]:
    tensors, _ = capture(sort_tracked(objects))
    found = {}
    for name, tensor in sorted(tensors.items()):
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        found[name] = digest_of(full)
    return found


def digest_of(tensor: Tensor) -> str:
    raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    head = f"{tensor.dtype}{tuple(tensor.shape)}"
    return hashlib.sha256(head.encode() + raw.numpy().tobytes()).hexdigest()


def loss_of(model: nn.Module, micro: train.Micro) -> tuple[Tensor, int]:
    inputs, targets = micro.samples[:, :-1], micro.samples[:, 1:]
    logits = model(inputs).flatten(0, 1)
    return F.cross_entropy(logits, targets.flatten(), reduction="sum"), targets.numel()


def kill_soon(after_s: float) -> None:
    def kill() -> None:
        time.sleep(after_s)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--layout", choices=["fsdp", "hsdp", "ddp", "job"], default="fsdp")
    parser.add_argument("--half", action="store_true", help="one block in bfloat16")
    parser.add_argument("--kill", type=int, help="this rank kills itself")
    parser.add_argument("--kill-at", type=int, default=2, help="step")
    parser.add_argument("--kill-after-s", type=float, default=0.0, help="after its save began")
    options = parser.parse_args()

    with train.session(seed=3) as run:
        dataset = data.open(options.corpus)
        with run.init():
            net = Net(dataset.vocab, torch.bfloat16 if options.half else torch.float32)
        model = run.parallelize(split(net, options.layout, run.world_size))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.9)
        tracked = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
        run.track(**tracked)
        said: dict[str, object] = {"restored": digests(**tracked), "from": run.step}
        batches = run.batches(dataset, global_batch=8, seed=7)
        for step in run.steps(batches, until=options.steps):
            if options.kill == run.rank and step.number == options.kill_at:
                kill_soon(options.kill_after_s)
            loss = step.backward(model, loss_of)
            run.clip_grad_norm(model, 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            run.log(loss=loss)
        said |= {"step": run.step, "loss": run.loss, "end": digests(**tracked)}
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
