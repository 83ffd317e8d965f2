from hypothesis import given
from hypothesis import strategies as st

from headrace.train.stopwatch import OWN_CODE, Stopwatch


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_inner_causes_are_taken_out_of_outer_ones() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    with watch.during("forward_backward"):
        clock.now_s += 3
        with watch.during("sync"):
            clock.now_s += 1
        clock.now_s += 2
    clock.now_s += 4
    assert watch.lap() == (10.0, {"forward_backward": 5.0, "sync": 1.0, OWN_CODE: 4.0})


def test_a_lap_within_a_cause_splits_it() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    with watch.during("log"):
        clock.now_s += 1
        assert watch.lap() == (1.0, {OWN_CODE: 0.0, "log": 1.0})
        clock.now_s += 2
    assert watch.lap() == (2.0, {"log": 2.0, OWN_CODE: 0.0})


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 100))))
def test_causes_add_up_to_the_step(parts: list[tuple[str, int]]) -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    for cause, seconds in parts:
        watch.switch(cause)
        clock.now_s += seconds
    step_s, by_cause = watch.lap()
    assert step_s == sum(by_cause.values()) == sum(seconds for _, seconds in parts)
