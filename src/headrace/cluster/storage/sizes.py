"""Sizes as file-system tools print them: "143.5T", "9.8P", "512K", "1.5GiB", "660k". Pure."""

import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGTPE])(?:i?B)?|B|Byte)?", re.ASCII | re.IGNORECASE)
_SCALE = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50, "E": 1 << 60}
_DIGITS_MAX = 30


def parse_size(text: str, *, unit: int = 1) -> int | None:
    """Bytes; suffixes are powers of 1024; a number without one is in ``unit`` bytes.

    None when it is no size.
    """
    found = _SIZE.fullmatch(text.strip()) if len(text) <= _DIGITS_MAX else None
    if found is None:
        return None
    number, suffix = found[1], found[2]
    scale = _SCALE[suffix.upper()] if suffix else unit
    return int(number) * scale if number.isdigit() else round(float(number) * scale)


def parse_number(text: str) -> int | None:
    """A whole number as it stands, perhaps negative; None when it is none."""
    stripped = text.strip()
    if len(stripped) > _DIGITS_MAX or re.fullmatch(r"-?\d+", stripped, re.ASCII) is None:
        return None
    return int(stripped)


def format_size(size_bytes: int) -> str:
    """ "4 MiB", "1.4 TiB": what a person reads at a glance."""
    for suffix, scale in reversed(_SCALE.items()):
        if size_bytes >= scale:
            value = size_bytes / scale
            digits = 0 if value == int(value) or value >= 100 else 1
            return f"{value:.{digits}f} {suffix}iB"
    return f"{size_bytes} B"
