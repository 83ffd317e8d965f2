"""How lines of logs are shown."""

from collections.abc import Iterator

import pytest

from headrace.cli.follow import LogLine, parse
from headrace.cli.logs import Printer


class Written:
    def __init__(self, *lines: bytes) -> None:
        self._lines = lines

    def lines(self) -> Iterator[LogLine]:
        return map(parse, self._lines)


def test_what_ran_before_the_ranks_has_no_rank_in_front(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    assert parse(b"-1 e copied") == LogLine(-1, "e", b"copied")
    assert parse(b"no rank at all") == LogLine(0, "o", b"no rank at all")
    assert Printer().show(Written(b"-1 o set up", b"0 o hello", b"1 o hello"))
    assert capsysbinary.readouterr().out == b"set up\n[0] hello\n[1] hello\n"


def test_lines_of_several_runs_have_the_run_in_front(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    Printer(prefix="a-1:").show(Written(b"-1 o set up", b"0 o hello"))
    assert capsysbinary.readouterr().out == b"[a-1] set up\n[a-1:0] hello\n"
