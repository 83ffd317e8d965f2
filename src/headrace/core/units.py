"""Quantities as people write them: durations, memory, counts. Text in, whole base units out.

Every ``parse_*`` raises ``ValueError`` whose text is the rule that was broken; every ``format_*``
writes what its parser reads back to the same number. Slurm's forms are those of sbatch(1), options
``--time`` and ``--mem``.
"""

import re
from decimal import Decimal

MINUTE_S = 60
HOUR_S = 3600
DAY_S = 86_400

_DURATION_UNITS_S = {"d": DAY_S, "h": HOUR_S, "m": MINUTE_S, "s": 1}
_DURATION = re.compile(
    r"(?:(?P<d>\d+(?:\.\d+)?)d)?(?:(?P<h>\d+(?:\.\d+)?)h)?"
    r"(?:(?P<m>\d+(?:\.\d+)?)m(?:in)?)?(?:(?P<s>\d+)s)?",
    re.ASCII,
)
_SLURM_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", re.ASCII)
_BYTES = re.compile(r"(\d+(?:\.\d+)?)(?:([KMGTP])(?:i?B)?|(B))?", re.ASCII | re.IGNORECASE)
_COUNT = re.compile(r"(\d+(?:\.\d+)?(?:e\d{1,2})?)([kmbt]?)", re.ASCII | re.IGNORECASE)
_BINARY = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}
_DECIMAL = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_DIGITS_MAX = 24


def parse_duration_s(text: str) -> int:
    """Seconds in "4h", "1h30m", "45s", "2d", or Slurm's MM, MM:SS, H:MM:SS, D-H, D-H:MM, D-H:MM:SS.

    A bare number is minutes, as in Slurm.
    """
    written = text.strip().lower().replace(" ", "")
    if not written or len(written) > _DIGITS_MAX:
        raise ValueError("a duration is written 4h, 90m, 1h30m, 45s, HH:MM:SS or D-HH:MM:SS")
    if found := _DURATION.fullmatch(written):
        total_s = sum(
            Decimal(number) * _DURATION_UNITS_S[unit]
            for unit, number in found.groupdict(default="0").items()
        )
        if total_s != int(total_s):
            raise ValueError("a duration is a whole number of seconds")
        return int(total_s)
    if found := _SLURM_TIME.fullmatch(written):
        return _slurm_time_s(*found.groups())
    raise ValueError("a duration is written 4h, 90m, 1h30m, 45s, HH:MM:SS or D-HH:MM:SS")


def _slurm_time_s(days: str | None, first: str, second: str | None, third: str | None) -> int:
    a, b, c = int(first), int(second or 0), int(third or 0)
    if days is not None:
        return int(days) * DAY_S + a * HOUR_S + b * MINUTE_S + c
    if third is not None:
        return a * HOUR_S + b * MINUTE_S + c
    return a * MINUTE_S + b


def format_duration(duration_s: int) -> str:
    """ "1d2h", "1h30m", "45s", "0s": only the units that are needed."""
    parts, left_s = [], duration_s
    for unit, size_s in _DURATION_UNITS_S.items():
        count, left_s = divmod(left_s, size_s)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_bytes(text: str) -> int:
    """Bytes in "400G", "1.5T", "512MiB" (all powers of 1024) or "123B"; a bare number is MiB."""
    written = text.strip().replace(" ", "")
    found = _BYTES.fullmatch(written) if len(written) <= _DIGITS_MAX else None
    if found is None:
        raise ValueError("memory is a number with K, M, G or T (powers of 1024); a bare one is MiB")
    number, suffix, plain = found.groups()
    scale = 1 if plain else _BINARY[(suffix or "M").upper()]
    total = Decimal(number) * scale
    if total != int(total):
        raise ValueError("memory is a whole number of bytes")
    return int(total)


def format_bytes(size_bytes: int) -> str:
    """Exact, with the largest suffix that leaves a whole number: "400G", "1536M", "123B"."""
    for suffix, scale in reversed(_BINARY.items()):
        if size_bytes and size_bytes % scale == 0:
            return f"{size_bytes // scale}{suffix}"
    return f"{size_bytes}B"


def parse_count(text: str) -> int:
    """ "3B" is 3,000,000,000; also k, M, T (powers of 1000), 1.5B, 1e9, 10_000."""
    written = text.strip().replace("_", "").replace(",", "")
    found = _COUNT.fullmatch(written) if len(written) <= _DIGITS_MAX else None
    if found is None:
        raise ValueError("a count is a number, with k, M, B or T for powers of 1000")
    number, suffix = found.groups()
    total = Decimal(number) * _DECIMAL[suffix.upper()]
    if total != int(total):
        raise ValueError("a count is a whole number")
    return int(total)


def format_count(count: int) -> str:
    """Exact, with the largest suffix that leaves a whole number: "3B", "50k", "1536"."""
    for suffix, scale in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if count and count % scale == 0:
            return f"{count // scale}{suffix}"
    return str(count)
