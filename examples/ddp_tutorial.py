"""Plain PyTorch data parallelism, as the tutorials write it. It knows nothing of Headrace.

Either of these starts it:

    torchrun --nproc-per-node 2 examples/ddp_tutorial.py
    headrace run --ranks-per-node 2 -- python examples/ddp_tutorial.py
"""

import argparse

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def make_data(samples: int) -> TensorDataset:
    """A noisy linear relation with fixed seeds."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(samples, 16, generator=generator)
    weights = torch.randn(16, 1, generator=generator)
    noise = 0.1 * torch.randn(samples, 1, generator=generator)
    return TensorDataset(inputs, inputs @ weights + noise)


def train(epochs: int, batch_size: int, checkpoint: str | None) -> None:
    rank = dist.get_rank()
    torch.manual_seed(0)
    dataset = make_data(4096)
    sampler = DistributedSampler(dataset, seed=2)
    loader = DataLoader(dataset, batch_size=batch_size, sampler=sampler)
    network = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 1))
    model = DistributedDataParallel(network)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    loss_fn = nn.MSELoss()

    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        total = torch.zeros(2, dtype=torch.float64)
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(inputs), targets)
            loss.backward()
            optimizer.step()
            total += torch.tensor([loss.item() * len(inputs), len(inputs)], dtype=torch.float64)
        dist.all_reduce(total)
        if rank == 0:
            print(f"epoch {epoch} loss {float(total[0] / total[1]):.6f}", flush=True)
            if checkpoint:
                torch.save(model.module.state_dict(), checkpoint)

    if rank == 0:
        print(f"final loss {float(total[0] / total[1])!r}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--checkpoint", help="file for the model's weights")
    arguments = parser.parse_args()
    dist.init_process_group("gloo")
    train(arguments.epochs, arguments.batch_size, arguments.checkpoint)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
