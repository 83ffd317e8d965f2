"""How what was done with many runs is printed."""

from headrace.cli.acted import lines
from headrace.core.states import State
from headrace.engines.contract import Acted


def acted(run_id: str, text: str = "cancelled") -> Acted:
    return Acted(id=run_id, state=State.CANCELLED, text=text)


def test_elements_of_an_array_with_which_the_same_was_done_share_a_line() -> None:
    ended = [acted(f"big-16_{index}", "has already ended COMPLETED") for index in range(2)]
    rest = [acted(f"big-16_{index}") for index in range(2, 2000)]
    assert list(lines([*ended, acted("big-17"), *rest])) == [
        "big-16_[0-1] has already ended COMPLETED",
        "big-17 cancelled",
        "big-16_[2-1999] cancelled",
    ]


def test_what_does_not_follow_each_other_has_a_line_each() -> None:
    runs = ["a-1_0", "a-1_2", "a-2_3", "a-3", "a_b-4"]
    assert list(lines([acted(run) for run in runs])) == [f"{run} cancelled" for run in runs]
