"""What is written by a formatter is read back to the same number."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.core.units import (
    format_bytes,
    format_count,
    format_duration,
    parse_bytes,
    parse_count,
    parse_duration_s,
)

AMOUNTS = st.integers(min_value=0, max_value=10**15)


@given(AMOUNTS)
def test_a_duration_survives_being_written(seconds: int) -> None:
    assert parse_duration_s(format_duration(seconds)) == seconds


@given(AMOUNTS | st.integers(min_value=0, max_value=10**6).map(lambda n: n << 30))
def test_memory_survives_being_written(size_bytes: int) -> None:
    assert parse_bytes(format_bytes(size_bytes)) == size_bytes


@given(AMOUNTS | st.integers(min_value=0, max_value=10**6).map(lambda n: n * 10**9))
def test_a_count_survives_being_written(count: int) -> None:
    assert parse_count(format_count(count)) == count


@given(st.integers(0, 999), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_slurms_longest_form_is_the_sum_of_its_parts(d: int, h: int, m: int, s: int) -> None:
    assert parse_duration_s(f"{d}-{h:02}:{m:02}:{s:02}") == d * 86_400 + h * 3_600 + m * 60 + s
