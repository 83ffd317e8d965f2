"""The tree of accounts, from text of scontrol show assoc_mgr in the shape of 22.05."""

import pytest

from headrace.engines.contract import Share
from headrace.engines.slurm.shares import parse_shares


def row(account: str, user: str, parent: str, shares: str, usage: float, minutes: str = "") -> str:
    return (
        f"ClusterName=c Account={account} UserName={user} Partition= Priority=0 ID=1 "
        f"SharesRaw/Norm/Level/Factor={shares} UsageRaw/Norm/Efctv={usage}/0.50/0.50 "
        f"ParentAccount={parent} Lft=1 DefAssoc=No GrpJobs=N(0) GrpTRESMins={minutes} MaxJobs="
    )


TEXT = "\n".join(
    (
        "Current Association Manager state\nAssociation Records",
        row("root", "", "", "1/0.00/1/0.00", 1000.0),
        row("root", "root(0)", "", "1/0.20/5/1.00", 0.0),
        row("plasma", "", "physics(2)", "1/0.50/2/0.00", 300.0),
        row("physics", "", "root(1)", "3/0.60/5/0.00", 800.0, "cpu=N(90),gres/gpu=600(30)"),
        row("physics", "ada(1001)", "", "2147483647/0.60/0/0.40", 500.0, "cpu=N(60)"),
        row("physics", "bob(1002)", "", "1/0.50/2/0.40", 0.0),
        row("biology", "", "root(1)", "1/0.20/5/0.00", 200.0),
    )
)


def share(account: str, depth: int, **more: float | str | None) -> Share:
    given = {"user": None, "cpu_hours": 0.0, "gpu_hours": 0.0} | more
    return Share(account=account, depth=depth, **given)  # type: ignore[arg-type]


def test_accounts_are_a_tree_with_parts_of_the_whole_and_only_the_user_in_it() -> None:
    found = parse_shares(TEXT, "ada")
    assert found == [
        share("physics", 0, shares=3, promised=0.6, used=0.8, cpu_hours=1.5, gpu_hours=0.5),
        share("plasma", 1, shares=1, promised=0.3, used=0.3),
        share("physics", 1, user="ada", shares=None, promised=None, used=0.5, cpu_hours=1.0),
        share("biology", 0, shares=1, promised=0.2, used=0.2),
    ]


def test_nothing_used_is_no_part_of_anything() -> None:
    (found,) = parse_shares(row("lab", "", "root(1)", "1/0.00/1/0.00", 0.0), "ada")
    assert found.used == pytest.approx(0.0)
