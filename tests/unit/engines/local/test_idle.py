"""The idle-GPU rule on a clock of our own."""

from math import inf

from headrace.engines.local.idle import Idle, IdleGpus
from headrace.engines.local.site import IdleGpu

RULE = IdleGpu(warn_after_s=60.0, cancel_after_s=120.0)


def watched(busy_at: dict[float, float], *, until_s: int = 200) -> list[tuple[int, str]]:
    """When what happened to a run with GPU 0; ``busy_at``: utilisation at some times, else 0."""
    rule, found = IdleGpus(RULE), []
    for now_s in range(0, until_s, 10):
        busy = {0: busy_at.get(now_s, 0.0)}
        found += [(now_s, one.what) for one in rule.look(now_s, {"a": [0]}, busy)]
    return found


def test_a_run_at_0_percent_is_warned_once_and_then_cancelled() -> None:
    assert watched({}, until_s=130) == [(60, "warn"), (120, "cancel")]


def test_one_look_that_finds_it_at_work_begins_its_time_anew() -> None:
    assert watched({50.0: 0.01}, until_s=170) == [(110, "warn")]


def test_a_run_is_idle_only_when_all_its_gpus_are() -> None:
    rule = IdleGpus(RULE)
    for now_s in range(0, 300, 10):
        assert rule.look(now_s, {"a": [0, 1]}, {0: 0.0, 1: 0.9}) == []


def test_a_gpu_that_does_not_answer_counts_as_at_work() -> None:
    rule = IdleGpus(RULE)
    for now_s in range(0, 300, 10):
        assert rule.look(now_s, {"a": [0]}, {}) == []


def test_a_run_that_comes_back_under_the_same_name_begins_anew() -> None:
    rule = IdleGpus(RULE)
    rule.look(0.0, {"a": [0]}, {0: 0.0})
    rule.look(100.0, {}, {})
    assert rule.look(110.0, {"a": [0]}, {0: 0.0}) == []
    assert rule.look(170.0, {"a": [0]}, {0: 0.0}) == [Idle("a", "warn", 60.0)]


def test_without_a_rule_nobody_looks() -> None:
    assert IdleGpus(IdleGpu()).due_s == inf
    assert IdleGpus(RULE).due_s == -inf
