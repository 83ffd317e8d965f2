"""A small training program for the tests of a session: what it does is said on its command line.

Prints one line of JSON: step, loss, whether it was stopped, and a digest of all parameters.
"""

import argparse
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headrace import data, train


class Net(nn.Module):
    """Registered in another order than it runs, so that DDP's first order of buckets is not its
    last."""

    def __init__(self, vocab: int, *, noise: bool) -> None:
        super().__init__()
        self.head = nn.Linear(64, vocab)
        self.embedding = nn.Embedding(vocab, 32)
        self.norm = nn.BatchNorm1d(64) if noise else nn.Identity()
        self.hidden = nn.Linear(32, 64)
        self.dropout = nn.Dropout(0.2 if noise else 0.0)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.hidden(self.embedding(tokens))
        normed = self.norm(hidden.flatten(0, 1)).view_as(hidden)
        logits: Tensor = self.head(self.dropout(torch.tanh(normed)))
        return logits


def loss_of(model: nn.Module, micro: train.Micro, masked: bool) -> tuple[Tensor, int]:
    inputs, targets = micro.samples[:, :-1], micro.samples[:, 1:]
    losses = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), reduction="none")
    kept = targets.flatten() % 3 != 0 if masked else torch.ones_like(targets.flatten()) > 0
    return losses[kept].sum(), int(kept.sum())


def train_by_hand(step: train.Step, model: nn.Module, masked: bool) -> Tensor:
    for micro in step:
        total, count = loss_of(model, micro, masked)
        step.scale(total, count=count).backward()  # type: ignore[no-untyped-call]
    assert step.loss is not None
    return step.loss


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--global-batch", type=int, default=8)
    parser.add_argument("--micro-batch", type=int)
    parser.add_argument("--noise", action="store_true")
    parser.add_argument("--masked", action="store_true")
    parser.add_argument("--manual", action="store_true")
    parser.add_argument("--kill-at", type=int, help="rank 0 kills itself here, once it has saved")
    parser.add_argument("--pause-s", type=float, default=0.0)
    parser.add_argument("--gradients", type=Path, help="file for those of the first step")
    parser.add_argument("--evaluate", action="store_true")
    options = parser.parse_args()

    with train.session(seed=3) as run:
        dataset = data.open(options.corpus)
        with run.init():
            net = Net(dataset.vocab, noise=options.noise)
        model = run.parallelize(net)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.9)
        run.track(model=model, optimizer=optimizer, scheduler=scheduler)
        batches = run.batches(
            dataset,
            global_batch=options.global_batch,
            seed=7,
            micro_batch=options.micro_batch,
        )
        for step in run.steps(batches, until=options.steps):
            if options.manual:
                loss = train_by_hand(step, model, options.masked)
            else:
                loss = step.backward(model, lambda m, micro: loss_of(m, micro, options.masked))
            if options.gradients and run.rank == 0 and step.number == 1:
                grads = {name: p.grad for name, p in net.named_parameters()}
                torch.save({"loss": loss, "gradients": grads}, options.gradients)
            run.clip_grad_norm(model, 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            run.log(loss=loss)
            if step.number == 1 and run.rank == 0:
                (run.run_dir.root / "started").touch()
            time.sleep(options.pause_s)
            if options.kill_at == step.number and run.rank == 0:
                while not any(run.run_dir.checkpoints.glob("step-*")):  # one is being written
                    time.sleep(0.05)
                os.kill(os.getpid(), signal.SIGKILL)
        said: dict[str, object] = {"rank": run.rank, "step": run.step, "stopped": run.stopped}
        if options.evaluate:
            evaluation = run.evaluate(dataset, batch=5)
            model.eval()
            with torch.no_grad():
                for micro in evaluation:
                    evaluation.add(loss=loss_of(model, micro, options.masked))
            said |= {"mean": evaluation.mean, "complete": evaluation.complete}
        digest = hashlib.sha256()
        for name, value in sorted(net.state_dict().items()):
            digest.update(name.encode() + value.numpy().tobytes())
        said |= {"loss": repr(run.loss), "parameters": digest.hexdigest()}
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
