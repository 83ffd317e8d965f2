"""Train the decoder on source code, byte by byte.

    headrace run --ranks-per-node 2 -- python -m headrace.workloads.language.train --steps 300
    torchrun --nproc-per-node 2 -m headrace.workloads.language.train --steps 300
    python -m headrace.workloads.language.train --steps 300

Prints the final loss, the unigram entropy of the corpus (what knowing only the frequency of each
byte gives), and with ``--evaluate`` the loss on held-out files.
"""

import argparse
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from headrace import data, train
from headrace.core.errors import HeadraceError
from headrace.train.until import until_in_job
from headrace.workloads.language.corpus import (
    Corpus,
    cache_folder,
    open_corpus,
    pack_standard_library,
)
from headrace.workloads.language.model import Decoder, DecoderConfig, next_token_loss

DEFAULT_STEPS = 300
DEFAULT_GLOBAL_BATCH = 16


class ConfigRecord:
    """Keeps the shape of the model in the checkpoint, so that it can be built again from it."""

    def __init__(self, config: DecoderConfig) -> None:
        self.config = config

    def state_dict(self) -> dict[str, Any]:
        return asdict(self.config)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The tensors of the model have been checked; here is nothing to take over."""


def warm_up_then_cosine(step: int, *, warm_up: int, total: int, least: float = 0.1) -> float:
    """Factor of the learning rate in the step after ``step`` finished ones."""
    if step < warm_up:
        return (step + 1) / warm_up
    progress = min(1.0, (step - warm_up) / max(1, total - warm_up))
    return least + (1.0 - least) * 0.5 * (1.0 + math.cos(math.pi * progress))


def train_decoder(run: train.Session, corpus: Corpus, options: argparse.Namespace) -> float | None:
    """The last training loss in nats per byte; None when a stop came first."""
    config = DecoderConfig(
        vocab=corpus.train.vocab,
        width=options.width,
        layers=options.layers,
        heads=options.heads,
        window=corpus.train.window,
        dropout=options.dropout,
    )
    with run.init():
        decoder = Decoder(config)
    model = run.parallelize(decoder)
    batches = run.batches(corpus.train, global_batch=options.global_batch, seed=options.seed)
    total = run.total_steps(batches, options.steps)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=options.lr, betas=(0.9, 0.95), weight_decay=0.1
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: warm_up_then_cosine(step, warm_up=min(options.warm_up, total), total=total),
    )
    run.track(model=model, optimizer=optimizer, scheduler=scheduler, config=ConfigRecord(config))
    for step in run.steps(batches, until=options.steps):
        loss = step.backward(model, next_token_loss)
        norm = run.clip_grad_norm(model, 1.0)
        optimizer.step()
        run.log(loss=loss, learning_rate=scheduler.get_last_lr()[0], gradient_norm=norm)
        scheduler.step()
        optimizer.zero_grad()
    if options.evaluate and not run.stopped:
        evaluate(run, model, corpus.held_out, options)
    return None if run.stopped else run.loss


def evaluate(
    run: train.Session,
    model: torch.nn.Module,
    held_out: data.TokenDataset,
    options: argparse.Namespace,
) -> None:
    model.eval()
    evaluation = run.evaluate(held_out, batch=options.global_batch)
    with torch.no_grad():
        for micro in evaluation:
            evaluation.add(loss=next_token_loss(model, micro))
    model.train()
    if evaluation.complete:
        run.log(held_out_loss=evaluation.mean["loss"])
        if run.rank == 0:
            say(f"held-out loss {evaluation.mean['loss']!r} nats/byte")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train a small decoder on source code.", allow_abbrev=False
    )
    parser.add_argument(
        "--corpus", type=Path, help="packed token file; default: made from Python's"
    )
    parser.add_argument("--window", type=int, default=256, help="of the corpus that is made")
    parser.add_argument("--steps", type=int, help=f"default: the job file's, or {DEFAULT_STEPS}")
    parser.add_argument(
        "--global-batch", type=int, help=f"default: the job file's, or {DEFAULT_GLOBAL_BATCH}"
    )
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--warm-up", type=int, default=20, help="steps")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--evaluate", action="store_true", help="on held-out files, at the end")
    return parser.parse_args(argv)


def with_defaults(options: argparse.Namespace, run: train.Session) -> argparse.Namespace:
    """What neither the command line nor the job file says."""
    settings = run.settings
    if options.steps is None and until_in_job(settings) is None:
        options.steps = DEFAULT_STEPS
    if options.global_batch is None:
        options.global_batch = settings.global_batch or DEFAULT_GLOBAL_BATCH
    return options


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_arguments(sys.argv[1:] if argv is None else argv)
    try:
        with train.session(seed=options.seed) as run:
            options = with_defaults(options, run)
            if options.corpus is None:
                with run.phase("corpus"), run.first_rank_first():
                    options.corpus = pack_standard_library(
                        cache_folder(os.environ), window=options.window
                    )
            corpus = open_corpus(options.corpus)
            loss = train_decoder(run, corpus, options)
            if loss is not None and run.rank == 0:
                entropy = data.unigram_entropy(corpus.train)
                say(f"final loss {loss!r} nats/byte; unigram entropy {entropy!r} nats/byte")
    except HeadraceError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
