import torch
from hypothesis import given
from hypothesis import strategies as st

from headrace.train.randomness import keyed_seed, reseed

CPU = torch.device("cpu")


@given(st.tuples(st.integers(0), st.integers(0), st.integers(0)))
def test_a_seed_fits_torch(key: tuple[int, int, int]) -> None:
    seed, step, data_rank = key
    assert 0 <= keyed_seed(seed=seed, step=step, data_rank=data_rank) < 2**63


def test_seed_step_and_rank_all_matter() -> None:
    keys = [(a, b, c) for a in range(12) for b in range(12) for c in range(12)]
    assert len({keyed_seed(seed=a, step=b, data_rank=c) for a, b, c in keys}) == len(keys)


def test_a_step_draws_the_same_numbers_whatever_was_drawn_before() -> None:
    reseed(CPU, seed=1, step=5, data_rank=0)
    first = torch.rand(3)
    torch.rand(10)
    reseed(CPU, seed=1, step=5, data_rank=0)
    assert torch.equal(torch.rand(3), first)
