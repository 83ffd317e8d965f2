"""An explanation in words: times, factors, advice; and the table of priorities."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from headrace.cli.clock import at, clock
from headrace.cli.explain import facts
from headrace.cli.priority import table
from headrace.schedule.change import Change
from headrace.schedule.explain import Entitlement, Explanation, Ranked, Sooner, Standing
from headrace.schedule.forecast import Forecast, Unlimited
from headrace.schedule.multifactor import Factor, Factors
from headrace.schedule.reason import LimitHit, NotBefore, Priority

NOW_S = datetime(2026, 11, 25, 13, 0, tzinfo=UTC).timestamp()
HOUR_S = 3600.0
NONE = Factor()
FACTORS = Factors(
    age=Factor(raw=0.5, weighted=500.0),
    assoc=NONE,
    fairshare=Factor(raw=0.8, weighted=8000.0),
    job_size=NONE,
    partition=NONE,
    qos=NONE,
    tres={"gpu": Factor(raw=0.1, weighted=34.4)},
    nice=100,
    tier=1,
    total=8434,
)


@pytest.mark.parametrize(
    ("later_s", "said", "after_a_verb"),
    [
        (0.0, "now", "now"),
        (25.0, "13:00:25", "at 13:00:25"),
        (4200.0, "14:10", "at 14:10"),
        (14 * HOUR_S, "tomorrow 03:00", "tomorrow 03:00"),
        (3 * 24 * HOUR_S, "Sat 13:00", "Sat 13:00"),
        (30 * 24 * HOUR_S, "2026-12-25 13:00", "2026-12-25 13:00"),
    ],
)
def test_a_time_is_said_as_near_as_it_is(later_s: float, said: str, after_a_verb: str) -> None:
    assert clock(NOW_S + later_s, NOW_S, UTC) == said
    assert at(NOW_S + later_s, NOW_S, UTC) == after_a_verb


def test_tomorrow_is_where_the_reader_is() -> None:
    east = timezone(timedelta(hours=9))
    assert clock(NOW_S + 3 * HOUR_S, NOW_S, east) == "tomorrow 01:00"


def test_on_slurm_it_says_slurms_word_shares_limits_and_that_the_start_is_a_bound() -> None:
    hit = LimitHit(
        limit="GrpTRES", resource="gpu", owner="account lab", allowed=16, used=12, needed=8
    )
    wall = LimitHit(
        limit="MaxWall", resource="", owner="QOS normal", allowed=86400, used=0, needed=3600
    )
    found = Explanation(
        run="big-9",
        now_s=NOW_S,
        reasons=(hit,),
        forecast=Forecast(start_s=NOW_S + HOUR_S, nodes=("n1",), bound=True),
        sooner=(
            Sooner(change=Change(nodes=1), start_s=NOW_S),
            Sooner(change=Change(partition="short"), start_s=NOW_S + HOUR_S / 2),
        ),
        word="AssocGrpGRES",
        shares=(
            Entitlement(account="lab", user=None, promised=0.6, used=0.94),
            Entitlement(account="lab", user="ada", promised=None, used=0.23),
        ),
        limits=(hit, wall),
        notes=("nodes out of use",),
    )
    assert list(facts(found, UTC)) == [
        ("run", "big-9"),
        (
            "why",
            "account lab is at its GrpTRES gpu limit: 12 of 16 in use, this run needs 8",
        ),
        ("slurm", "AssocGrpGRES"),
        (
            "shares",
            "account lab has 60 % of the shares and 94 % of the usage; 23 % of that is ada's",
        ),
        ("limits", "account lab: GrpTRES gpu 12 of 16 in use, this run needs 8"),
        ("", "QOS normal: MaxWall at most 1d, this run needs 1h"),
        ("starts", "not before 14:00, in 1h, on n1"),
        ("sooner", "with 1 node it starts now instead of 14:00"),
        ("", "with partition short it starts not before 13:30"),
        ("note", "nodes out of use"),
    ]


def test_an_explanation_ends_in_an_act() -> None:
    found = Explanation(
        run="big-9",
        now_s=NOW_S,
        reasons=(Priority(behind="a-1", before=7), NotBefore(begin_s=NOW_S + HOUR_S)),
        forecast=Forecast(start_s=NOW_S + 14 * HOUR_S, nodes=tuple(f"n{n}" for n in range(6))),
        standing=Standing(place=8, of=12, before=("a-1", "b-2", "c-3", "d-4", "e-5")),
        factors=FACTORS,
        sooner=(
            Sooner(change=Change(nodes=6), start_s=NOW_S + 4200.0),
            Sooner(change=Change(limit_s=11 * HOUR_S), start_s=NOW_S + 4200.0),
            Sooner(change=Change(partition="short"), start_s=NOW_S),
        ),
    )
    assert list(facts(found, UTC)) == [
        ("run", "big-9"),
        ("why", "waits behind a-1; 7 runs are before it"),
        ("also", "not to begin before 14:00"),
        ("place", "8 of 12 that wait, behind a-1, b-2, c-3, d-4, e-5 and 2 more"),
        ("priority", "8434: fairshare 8000, age 500, gpu 34, nice -100"),
        (
            "starts",
            "tomorrow 03:00, in 14h, on n0, n1, n2, n3 and 2 more, if nothing changes",
        ),
        ("sooner", "with 6 nodes or 11h it starts at 14:10 instead of tomorrow 03:00"),
        ("", "with partition short it starts now"),
    ]


def test_a_start_that_is_not_known_says_why() -> None:
    found = Explanation(
        run="b-2",
        now_s=NOW_S,
        reasons=(Priority(behind="a-1"),),
        forecast=Forecast(unknown=Unlimited(runs=("a-1",))),
        standing=Standing(place=1, of=1),
        sooner=(Sooner(change=Change(limit_s=HOUR_S), start_s=NOW_S + 4200.0),),
    )
    assert list(facts(found, UTC))[2:] == [
        ("place", "1 of 1 that wait"),
        ("starts", "not known: it depends on a-1, which has no time limit"),
        ("sooner", "with 1h it starts at 14:10"),
    ]


def test_priorities_show_only_the_parts_that_count() -> None:
    rows = [
        Ranked(run="a-1", user="ada", account="lab", place=1, factors=FACTORS),
        Ranked(run="7", user="bob", account="", place=2, factors=FACTORS),
    ]
    head, first, second = table(rows)
    assert head == (
        *("PLACE", "RUN", "USER", "ACCOUNT", "PRIORITY", "AGE", "FAIRSHARE", "GPU", "NICE"),
    )
    assert first == ("1", "a-1", "ada", "lab", "8434", "500", "8000", "34", "-100")
    assert second[:4] == ("2", "7", "bob", "-")


def test_a_policy_without_factors_shows_the_order_alone() -> None:
    rows = [Ranked(run="a-1", user="ada", account="lab", place=1)]
    assert table(rows) == [("PLACE", "RUN", "USER", "ACCOUNT"), ("1", "a-1", "ada", "lab")]
