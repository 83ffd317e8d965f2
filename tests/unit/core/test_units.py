import pytest

from headrace.core.units import (
    format_bytes,
    format_count,
    format_duration,
    parse_bytes,
    parse_count,
    parse_duration_s,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("4h", 14_400),
        ("90m", 5_400),
        ("90min", 5_400),
        ("1h30m", 5_400),
        ("1.5h", 5_400),
        ("45s", 45),
        ("2d", 172_800),
        ("240", 14_400),
        ("90:30", 5_430),
        ("1:30:00", 5_400),
        ("1-12", 129_600),
        ("1-12:30", 131_400),
        ("1-12:30:15", 131_415),
    ],
)
def test_a_duration_is_read_with_units_and_in_the_six_forms_of_slurm(
    text: str, seconds: int
) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "4 fortnights", "1:2:3:4", "-5", "1.5s", "0.0001h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a duration is"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("400G", 400 << 30),
        ("1.5T", 3 << 39),
        ("512MiB", 512 << 20),
        ("2gb", 2 << 30),
        ("100", 100 << 20),
        ("123B", 123),
    ],
)
def test_memory_is_read_as_slurm_reads_it(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "G", "400 gigs", "-1G", "1e3G", "0.0001K"])
def test_what_is_no_memory_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="memory is a"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("3B", 3_000_000_000),
        ("1.5k", 1_500),
        ("10_000", 10_000),
        ("1e9", 10**9),
        ("2T", 2 * 10**12),
    ],
)
def test_a_count_is_read_with_powers_of_1000(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "B", "3 billion", "-3", "1.5"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a count is a"):
        parse_count(text)


def test_amounts_are_written_with_the_units_that_are_needed() -> None:
    assert [format_duration(s) for s in (0, 45, 5_400, 93_600)] == ["0s", "45s", "1h30m", "1d2h"]
    assert [format_bytes(b) for b in (0, 123, 1536 << 20, 400 << 30)] == [
        "0B",
        "123B",
        "1536M",
        "400G",
    ]
    assert [format_count(n) for n in (0, 1_536, 50_000, 3 * 10**9)] == ["0", "1536", "50k", "3B"]
