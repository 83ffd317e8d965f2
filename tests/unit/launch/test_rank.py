import os
from collections.abc import Iterator

import pytest

from headrace.launch.rank import Stream


@pytest.fixture
def stream() -> Iterator[tuple[Stream, int]]:
    read, write = os.pipe()
    made = Stream(read, "o")
    yield made, write
    os.close(read)


def test_half_a_line_waits_for_its_rest(stream: tuple[Stream, int]) -> None:
    made, write = stream
    os.write(write, b"one\ntw")
    assert made.lines() == [b"one\n"]
    os.write(write, b"o\n")
    assert made.lines() == [b"two\n"]
    os.close(write)


def test_the_end_gives_the_rest_without_its_newline(stream: tuple[Stream, int]) -> None:
    made, write = stream
    os.write(write, b"last words")
    os.close(write)
    assert made.lines() == [b"last words\n"]
    assert made.closed


def test_a_progress_bar_becomes_one_line(stream: tuple[Stream, int]) -> None:
    made, write = stream
    for percent in range(100):
        os.write(write, f"\r{percent}%".encode())
        assert made.lines() == []
    os.write(write, b"\r100%\r\n")
    assert made.lines() == [b"100%\n"]
    os.close(write)


def test_a_line_without_end_is_cut_not_kept_for_ever(stream: tuple[Stream, int]) -> None:
    made, write = stream
    os.set_blocking(write, False)
    seen = 0
    for _ in range(10):
        os.write(write, b"x" * 30_000)
        seen += sum(len(line) for line in made.lines())
    assert seen >= 200_000
    os.close(write)
