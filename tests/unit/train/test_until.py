import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.order import SessionSettings
from headrace.data.plan import Asked, Identity, Plan, planned
from headrace.train.errors import Contradiction, MissingValue, UnreadableUntil
from headrace.train.until import Until, choose_until, parse_until, steps_of


def plan_of(*sizes: tuple[int, int]) -> Plan:
    source = Identity(length=100, fingerprint="")
    return planned(Asked(seed=0, sources=(source,), sizes=sizes)).plan


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("300 steps", 300, "step"),
        ("1 step", 1, "step"),
        ("3B tokens", 3e9, "token"),
        ("1.5M samples", 1.5e6, "sample"),
        ("1e6 samples", 1e6, "sample"),
        (" 0.5 epochs ", 0.5, "epoch"),
    ],
)
def test_amounts_of_training_are_read(text: str, amount: float, unit: str) -> None:
    assert parse_until(text) == Until(amount, unit)


@pytest.mark.parametrize("text", ["", "300", "steps", "300 stpes", "-1 steps", "1.2.3 steps"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(UnreadableUntil):
        parse_until(text)


def test_code_and_job_file_may_say_the_same() -> None:
    assert choose_until("300 steps", SessionSettings(until_steps=300)) == Until(300, "step")
    assert choose_until(300, SessionSettings(until_steps=300)) == Until(300, "step")


def test_the_job_file_alone_is_enough() -> None:
    assert choose_until(None, SessionSettings(until_tokens=10)) == Until(10, "token")


def test_code_and_job_file_may_not_differ() -> None:
    with pytest.raises(Contradiction, match="until=200 steps, the job file says 300 steps"):
        choose_until(200, SessionSettings(until_steps=300))


def test_an_end_must_be_given() -> None:
    with pytest.raises(MissingValue, match="until is given neither"):
        choose_until(None, SessionSettings())


@pytest.mark.parametrize(
    ("until", "steps"),
    [
        (Until(300, "step"), 300),
        (Until(33, "sample"), 5),
        (Until(320, "token"), 4),
        (Until(2, "epoch"), 25),
    ],
)
def test_every_unit_is_so_many_steps(until: Until, steps: int) -> None:
    assert steps_of(until, plan_of((0, 8)), window=10) == steps


def test_samples_are_counted_through_a_change_of_batch() -> None:
    plan = plan_of((0, 8), (5, 20))
    assert [steps_of(Until(n, "sample"), plan, window=10) for n in (40, 41, 60, 61)] == [5, 6, 6, 7]


@given(st.integers(1, 10**9), st.integers(1, 10**5))
def test_the_last_step_is_whole_and_no_step_is_too_many(samples: int, global_batch: int) -> None:
    steps = steps_of(Until(samples, "sample"), plan_of((0, global_batch)), window=1)
    assert (steps - 1) * global_batch < samples <= steps * global_batch
