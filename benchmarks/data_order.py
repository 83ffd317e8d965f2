"""Samples looked up a second, on one core. Promise: a million, 4096 positions at a time.

The limit beside it is NumPy's own gather from a permutation held in memory.
"""

import sys
import time
from collections.abc import Callable

import numpy as np

from headrace.data.order import WHOLE, Blocks, Order, Sequential
from headrace.data.packing import fill, pack_documents
from headrace.data.plan import Asked, Identity, planned, samples_at

AT_ONCE, ROUNDS = 4096, 200


def rate(look_up: Callable[[int], object]) -> float:
    """Millions a second of processor time."""
    look_up(0)
    begin_s = time.process_time()
    for number in range(1, ROUNDS + 1):
        look_up(number * AT_ONCE)
    return ROUNDS * AT_ONCE / (time.process_time() - begin_s) / 1e6


def plan_rate(order: Order, lengths: tuple[int, ...], shares: tuple[int, ...]) -> float:
    sources = tuple(Identity(length=length, fingerprint="") for length in lengths)
    asked = Asked(
        seed=7, order=order, sources=sources, sizes=((0, AT_ONCE),), shares=((0, shares),)
    )
    plan = planned(asked).plan
    return rate(lambda first: samples_at(plan, np.arange(first, first + AT_ONCE)))


def main() -> None:
    stored = np.random.default_rng(7).permutation(10_000_019)
    limit = rate(lambda first: stored[first : first + AT_ONCE].copy())
    sys.stdout.write(f"permutation held in memory (80 MB)     {limit:8.1f} M samples/s\n")
    for name, order in (
        ("whole", WHOLE),
        ("blocks of 1024, 8 a window", Blocks(block=1024, window=8)),
        ("sequential", Sequential()),
    ):
        one = plan_rate(order, (10_000_019,), (1,))
        three = plan_rate(order, (10_000_019, 100_003, 10_007), (700, 200, 100))
        sys.stdout.write(f"{name:28} one source {one:6.1f}   mix of 3 {three:6.1f} M samples/s\n")
    lengths = np.random.default_rng(7).lognormal(np.log(600), 1.2, 100_000).astype(np.int64)
    begin_s = time.process_time()
    packing = pack_documents(lengths, window=2048)
    taken_s = time.process_time() - begin_s
    sys.stdout.write(
        f"packing 100,000 documents into rows of 2049: {taken_s:.2f} s, "
        f"{fill(packing, 2048):.2%} filled\n"
    )


if __name__ == "__main__":
    main()
