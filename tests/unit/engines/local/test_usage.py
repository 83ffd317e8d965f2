"""Hours held, split at the turn of the month, and the tree of shares."""

from datetime import datetime

import pytest

from headrace.cli.usage import folded
from headrace.core.events import Placed
from headrace.engines.contract import Spent
from headrace.engines.local.history import Stretch
from headrace.engines.local.usage import Holding, share_tree, spent
from headrace.schedule.cluster import Account

HOUR_S = 3600.0


def at_s(*when: int) -> float:
    return datetime(*when).timestamp()  # type: ignore[arg-type]


def held(start_s: float, hours: float, *, cpus: int = 2, gpus: int = 1) -> Stretch:
    place = Placed(node="n", address="a", cpus=tuple(range(cpus)), gpus=tuple(range(gpus)))
    return Stretch(start_s=start_s, end_s=start_s + hours * HOUR_S, placed=(place,))


def test_a_place_held_over_new_year_counts_in_both_months() -> None:
    holding = Holding("ada", "lab", [held(at_s(2025, 12, 31, 22), 5.0)], energy_j=7.2e6)
    assert spent([holding]) == [
        Spent(user="ada", account="lab", month="2025-12", runs=1, cpu_hours=4.0, gpu_hours=2.0),
        Spent(
            user="ada",
            account="lab",
            month="2026-01",
            runs=1,
            cpu_hours=6.0,
            gpu_hours=3.0,
            energy_kwh=2.0,
        ),
    ]


def test_hours_add_up_whatever_they_are_grouped_by() -> None:
    rows = spent(
        Holding(user, account, [held(at_s(2026, month, 3), month)], energy_j=None)
        for user in ("ada", "bob")
        for account in ("x", "y")
        for month in (1, 2)
    )
    for by in (["user"], ["account"], ["month"], ["month", "user"], []):
        found = folded(rows, by)
        assert sum(row.cpu_hours for row in found) == pytest.approx(24.0)
        assert sum(row.runs for row in found) == 8
    assert [(row.user, row.account) for row in folded(rows, ["user"])] == [("ada", ""), ("bob", "")]


def test_shares_are_parts_of_the_whole_and_usage_of_an_account_holds_all_below() -> None:
    accounts = (
        Account(name="a", shares=1),
        Account(name="b", shares=3),
        Account(name="c", parent="b", shares=1),
        Account(name="c", user="ada", shares=2),
        Account(name="c", user="bob", shares=2),
        Account(name="c", user="cleo", shares=None),
    )
    rows = [Spent(user="ada", account="c", month="2026-01", runs=1, cpu_hours=5.0)]
    tree = share_tree(accounts, {("c", "ada"): 30.0, ("a", "x"): 10.0}, rows)
    assert [(one.user or one.account, one.depth, one.promised, one.used) for one in tree] == [
        ("a", 0, 0.25, 0.25),
        ("b", 0, 0.75, 0.75),
        ("c", 1, 0.75, 0.75),
        ("ada", 2, 0.375, 0.75),
        ("bob", 2, 0.375, 0.0),
        ("cleo", 2, None, 0.0),
    ]
    assert [one.cpu_hours for one in tree] == [0.0, 5.0, 5.0, 5.0, 0.0, 0.0]
