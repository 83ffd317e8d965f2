"""Fair Tree and the classic formula on trees worked out by hand or on Slurm's own pages."""

import pytest

from headrace.schedule.cluster import Account
from headrace.schedule.fairtree import Classic, Equals, FairTree, fair_tree

A1, A2, B1, B2 = ("a", "a1"), ("a", "a2"), ("b", "b1"), ("b", "b2")


def users(account: str, *names: str, shares: int | None = 1) -> list[Account]:
    return [Account(name=account, user=name, shares=shares) for name in names]


TWO = [Account(name="a"), Account(name="b"), *users("a", "a1", "a2"), *users("b", "b1", "b2")]


def test_all_users_of_the_account_that_is_ahead_are_ahead() -> None:
    usage = {A1: 30.0, A2: 10.0, B1: 50.0, B2: 0.0}
    assert fair_tree(TWO, usage) == {A2: 1.0, A1: 0.75, B2: 0.5, B1: 0.25}


def test_shares_are_what_usage_is_measured_by() -> None:
    accounts = [Account(name="a", shares=1), Account(name="b", shares=3), *TWO[2:]]
    usage = {A1: 30.0, A2: 10.0, B1: 50.0, B2: 0.0}
    assert fair_tree(accounts, usage) == {B2: 1.0, B1: 0.75, A2: 0.5, A1: 0.25}


def test_siblings_that_are_equal_share_a_rank_and_the_next_is_one_lower_for_each() -> None:
    accounts = users("a", "u1", "u2", "u3")
    usage = {("a", "u1"): 5.0, ("a", "u2"): 5.0, ("a", "u3"): 10.0}
    factors = fair_tree(accounts, usage)
    assert factors == {("a", "u1"): 1.0, ("a", "u2"): 1.0, ("a", "u3"): pytest.approx(1 / 3)}


def test_accounts_that_are_equal_are_walked_as_one() -> None:
    usage = {A1: 10.0, A2: 30.0, B1: 5.0, B2: 35.0}
    assert fair_tree(TWO, usage) == {B1: 1.0, A1: 0.75, A2: 0.5, B2: 0.25}


def test_before_anybody_has_used_anything_all_users_are_first() -> None:
    assert set(fair_tree(TWO, {}).values()) == {1.0}


def test_a_user_that_equals_an_account_shares_the_rank_of_its_best_user() -> None:
    accounts = [
        *users("top", "u"),
        Account(name="sub", parent="top"),
        *users("sub", "s1", "s2"),
    ]
    usage = {("top", "u"): 40.0, ("sub", "s1"): 10.0, ("sub", "s2"): 30.0}
    factors = fair_tree(accounts, usage)
    assert factors == {("top", "u"): 1.0, ("sub", "s1"): 1.0, ("sub", "s2"): pytest.approx(1 / 3)}


def test_the_rank_of_a_tie_goes_down_through_accounts_without_users_of_their_own() -> None:
    accounts = [
        *users("top", "u"),
        Account(name="mid", parent="top"),
        Account(name="empty", parent="mid"),
        Account(name="low", parent="mid"),
        *users("low", "v", "w"),
    ]
    usage = {("top", "u"): 40.0, ("low", "v"): 10.0, ("low", "w"): 30.0}
    factors = fair_tree(accounts, usage)
    assert factors["low", "v"] == factors["top", "u"] == 1.0


def test_users_with_the_parents_share_come_first_in_their_account() -> None:
    accounts = [*users("a", "boss", shares=None), *users("a", "u1", "u2")]
    usage = {("a", "boss"): 1000.0, ("a", "u1"): 1.0, ("a", "u2"): 2.0}
    factors = fair_tree(accounts, usage)
    assert factors["a", "boss"] == 1.0 > factors["a", "u1"] > factors["a", "u2"]


def test_an_account_with_the_parents_share_gives_its_children_to_the_account_above() -> None:
    flat = [Account(name="top"), *users("top", "u", "v"), *users("other", "w")]
    folded = [
        Account(name="top"),
        Account(name="group", parent="top", shares=None),
        *users("top", "u"),
        *users("group", "v"),
        *users("other", "w"),
    ]
    usage = {("top", "u"): 3.0, ("top", "v"): 1.0, ("other", "w"): 4.0}
    moved = {("top", "u"): 3.0, ("group", "v"): 1.0, ("other", "w"): 4.0}
    assert sorted(fair_tree(flat, usage).values()) == sorted(fair_tree(folded, moved).values())
    assert fair_tree(flat, usage)["top", "v"] == fair_tree(folded, moved)["group", "v"]


def test_no_shares_come_last_even_unused() -> None:
    accounts = [*users("a", "guest", shares=0), *users("a", "u")]
    assert fair_tree(accounts, {("a", "u"): 9.0}) == {("a", "u"): 1.0, ("a", "guest"): 0.5}


def test_what_a_former_user_has_used_stays_with_the_account() -> None:
    factors = fair_tree(TWO, {("a", "gone"): 10.0, B1: 1.0})
    assert min(factors[B1], factors[B2]) > max(factors[A1], factors[A2])


def test_a_run_in_no_account_counts_in_the_users_first() -> None:
    assert FairTree(TWO).seat("", "b2") == B2
    assert FairTree(TWO).seat("a", "a1") == A1


def test_an_account_among_its_own_parents_is_refused() -> None:
    loop = [Account(name="a", parent="b"), Account(name="b", parent="a")]
    with pytest.raises(ValueError, match="among its own parents"):
        FairTree(loop)


def test_the_classic_factors_are_those_of_slurms_example() -> None:
    accounts = [
        Account(name="A", shares=40),
        Account(name="D", shares=60),
        Account(name="B", parent="A", shares=30),
        Account(name="C", parent="A", shares=10),
        Account(name="E", parent="D", shares=25),
        Account(name="F", parent="D", shares=35),
        *users("B", "1"),
        *users("C", "2", "3"),
        *users("E", "4"),
        *users("F", "5"),
    ]
    usage = {("B", "1"): 0.2, ("C", "2"): 0.25, ("E", "4"): 0.25, ("root", "rest"): 0.3}
    factors = Classic(accounts).factors(usage)
    assert factors == {
        ("B", "1"): pytest.approx(0.408479, abs=1e-6),
        ("C", "2"): pytest.approx(0.022097, abs=1e-6),
        ("C", "3"): pytest.approx(0.125, abs=1e-6),
        ("E", "4"): pytest.approx(0.5, abs=1e-6),
        ("F", "5"): pytest.approx(0.749154, abs=1e-4),
    }


def test_dampening_draws_classic_factors_together() -> None:
    usage = {A1: 30.0, A2: 10.0, B1: 50.0}
    plain, damped = Classic(TWO).factors(usage), Classic(TWO, 5.0).factors(usage)
    assert plain[B1] < damped[B1] < 1.0
    assert damped[B1] == pytest.approx(plain[B1] ** 0.2)


def test_without_accounts_who_used_least_is_first_whatever_the_account_is_called() -> None:
    usage = {("x", "ada"): 4.0, ("y", "ada"): 4.0, ("x", "bob"): 7.0, ("x", "cyd"): 0.0}
    share = Equals()
    factors = share.factors(usage)
    assert factors[share.seat("z", "cyd")] == share.newcomer == 1.0
    assert factors[share.seat("x", "bob")] == 0.5
    assert factors[share.seat("y", "ada")] == 0.25
