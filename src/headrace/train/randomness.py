"""Randomness as a function of (seed, step, data rank), so that none of it is stored.

Dropout and sampling after a restart continue as if there had been none, because torch's generators
are set anew at the start of every step. Python's and NumPy's global generators are left alone.
"""

import hashlib

import torch

INITIALISATION = 0  # steps count from 1


def keyed_seed(*, seed: int, step: int, data_rank: int) -> int:
    """A 63-bit seed; different keys give unrelated ones (BLAKE2b)."""
    key = f"{seed}:{step}:{data_rank}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1


def reseed(device: torch.device, *, seed: int, step: int, data_rank: int) -> None:
    """Set torch's default generators of the CPU and of ``device``.

    ``torch.manual_seed`` would do the same for all devices and takes 60 times as long.
    """
    value = keyed_seed(seed=seed, step=step, data_rank=data_rank)
    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        torch.cuda.manual_seed(value)
