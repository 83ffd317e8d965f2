"""Usage that fades, against hand-worked figures and against Slurm's own steps."""

import pytest

from headrace.schedule.ledger import Ledger

DAY_S = 86_400.0
ADA = ("lab", "ada")


def test_usage_halves_with_every_half_life() -> None:
    ledger = Ledger(7 * DAY_S)
    ledger.put(0.0, *ADA, 1000.0)
    assert ledger.usage(7 * DAY_S)[ADA] == pytest.approx(500.0, rel=1e-12)
    assert ledger.usage(21 * DAY_S)[ADA] == pytest.approx(125.0, rel=1e-12)


def test_a_run_without_decay_is_charged_its_rate_each_second() -> None:
    ledger = Ledger(0.0)
    ledger.start(100.0, *ADA, 8.0)
    ledger.end(160.0, *ADA, 8.0)
    assert ledger.usage(1e9)[ADA] == 480.0


def test_a_run_that_never_ends_is_worth_its_rate_for_the_mean_life() -> None:
    ledger = Ledger(100.0)
    ledger.start(0.0, *ADA, 1.0)
    assert ledger.usage(1e6)[ADA] == pytest.approx(100.0 / 0.6931471805599453)


def test_a_run_that_was_started_in_the_past_is_charged_from_then() -> None:
    late, early = Ledger(50.0), Ledger(50.0)
    for ledger, starts in ((early, (10.0, 40.0)), (late, (40.0, 10.0))):
        for at_s in starts:
            ledger.start(at_s, *ADA, 2.0)
    assert late.usage(90.0)[ADA] == pytest.approx(early.usage(90.0)[ADA], rel=1e-12)


def test_nothing_is_left_of_the_rate_when_the_last_run_has_ended() -> None:
    ledger = Ledger(0.0)
    for rate in (0.1, 0.2, 0.3):
        ledger.start(0.0, *ADA, rate)
    for rate in (0.2, 0.1, 0.3):
        ledger.end(10.0, *ADA, rate)
    assert ledger.usage(1e12) == ledger.usage(10.0)


def test_slurms_steps_come_within_three_hundredths_of_a_percent() -> None:
    half_life_s, period_s, rate = 7 * DAY_S, 300, 64.0
    ledger = Ledger(half_life_s)
    ledger.start(0.0, *ADA, rate)
    fade = (1 - 0.693 / half_life_s) ** period_s
    stepped = 0.0
    for _ in range(int(30 * DAY_S) // period_s):
        stepped = stepped * fade + rate * period_s * fade
    assert ledger.usage(30 * DAY_S)[ADA] == pytest.approx(stepped, rel=3e-4)
