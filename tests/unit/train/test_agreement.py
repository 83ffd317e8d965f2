import torch

from headrace.train.agreement import Agreement, Wish, wish_of
from headrace.train.group import Group

ALONE = Group(rank=0, world_size=1, device=torch.device("cpu"), control=None, owned=False)


def test_what_the_steps_have_carried_is_agreed_once() -> None:
    agreement = Agreement(ALONE)
    agreement.hear(Wish.STOP)
    agreement.hear(Wish.SAVE)
    assert agreement.at_boundary(Wish.NOTHING) == Wish.STOP | Wish.SAVE
    assert agreement.at_boundary(Wish.NOTHING) == Wish.NOTHING


def test_a_step_that_carried_no_wish_leaves_nothing_to_do() -> None:
    agreement = Agreement(ALONE)
    agreement.hear(Wish.NOTHING)
    assert agreement.at_boundary(Wish.STOP) == Wish.NOTHING


def test_a_boundary_to_which_nothing_was_carried_is_settled_on_the_spot() -> None:
    assert Agreement(ALONE).at_boundary(Wish.STOP) == Wish.STOP


def test_the_wish_of_any_rank_is_found_in_the_sum_of_their_counts() -> None:
    ranks = [Wish.SAVE, Wish.NOTHING, Wish.SAVE | Wish.STOP]
    counts = [sum(one) for one in zip(*(wish.as_counts() for wish in ranks), strict=True)]
    assert wish_of(counts) == Wish.SAVE | Wish.STOP
    assert wish_of(Wish.NOTHING.as_counts()) == Wish.NOTHING
