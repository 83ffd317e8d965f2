"""Trains on a mix of packed documents and says which rows it saw."""

import json
import sys
from pathlib import Path

import torch
from torch import nn

from headrace import data, train


def main() -> None:
    folder, steps, batch, weights = Path(sys.argv[1]), *map(json.loads, sys.argv[2:])
    if isinstance(batch, dict):
        batch = {int(step): size for step, size in batch.items()}
    with train.session() as run:
        with run.first_rank_first():
            corpora = {
                name: data.in_packs(data.open(folder / f"{name}.jsonl"), window=8, field="ids")
                for name in ("books", "code")
            }
        model = run.parallelize(nn.Embedding(4096, 4))
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        run.track(model=model, optimizer=optimizer)
        batches = run.batches(
            data.mix(**corpora), global_batch=batch, weights=weights, period=4, seed=7
        )
        seen: dict[int, list[int]] = {}
        for step in run.steps(batches, steps):
            rows = seen[step.number] = []

            def loss_fn(
                model: nn.Module, micro: train.Micro, rows: list[int] = rows
            ) -> tuple[torch.Tensor, int]:
                tokens, pieces, _ = micro.samples.unbind(1)
                if micro.weight:
                    rows += tokens[:, 0].tolist()
                counts = pieces > 0
                return model(tokens)[counts].square().sum(), int(counts.sum())

            step.backward(model, loss_fn)
            optimizer.step()
            optimizer.zero_grad()
        print(json.dumps({"rank": run.rank, "seen": seen}))


if __name__ == "__main__":
    main()
