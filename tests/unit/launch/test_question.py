import os

import pytest

from headrace.launch.question import answered, ask


@pytest.mark.parametrize(
    ("argv", "answer"),
    [
        (("echo", "1764500000.25"), 1764500000.25),
        (("echo", "no number"), None),
        (("false",), None),
        (("/nowhere/to/be/found",), None),
    ],
)
def test_a_command_answers_with_a_number_or_not_at_all(
    argv: tuple[str, ...], answer: float | None
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    assert answered(ask(argv)) == answer
    assert len(os.listdir("/proc/self/fd")) == before
