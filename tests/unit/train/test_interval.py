from headrace.core.order import SessionSettings
from headrace.train.interval import (
    AUTOMATIC_S,
    Interval,
    choose_interval,
    due_by_steps,
    due_by_time,
)


def test_the_job_file_chooses_steps_or_seconds_and_is_otherwise_automatic() -> None:
    assert choose_interval(SessionSettings(checkpoint_every_steps=5)) == Interval(every_steps=5)
    assert choose_interval(SessionSettings(checkpoint_every_s=60.0)) == Interval(every_s=60.0)
    assert choose_interval(SessionSettings()) == Interval(every_s=AUTOMATIC_S, automatic=True)


def test_a_rule_by_steps_is_due_at_its_multiples_and_never_by_time() -> None:
    rule = Interval(every_steps=5)
    assert [step for step in range(1, 12) if due_by_steps(rule, step=step)] == [5, 10]
    assert not due_by_time(rule, now_s=1e9, saved_s=0.0)


def test_a_rule_by_time_is_due_when_the_last_save_is_that_long_ago_and_never_by_steps() -> None:
    rule = Interval(every_s=60.0)
    assert not due_by_time(rule, now_s=159.0, saved_s=100.0)
    assert due_by_time(rule, now_s=160.0, saved_s=100.0)
    assert not due_by_steps(rule, step=60)
