"""Slurm's short form of node names: ``n[1-3,07],gpu5``. Pure; sinfo(1), scontrol(1)."""

import re
from collections.abc import Iterator
from itertools import product

_PIECE = re.compile(r"\[([^\]]*)\]|([^\[\],]+)")


def expand(text: str) -> list[str]:
    """All names, in the order written. "n[08-10]" is n08, n09, n10."""
    return [name for part in _parts(text) for name in _names(part)]


def _parts(text: str) -> Iterator[str]:
    """Split at the commas that stand outside brackets."""
    depth, part = 0, ""
    for char in text.strip():
        depth += (char == "[") - (char == "]")
        if char == "," and depth == 0:
            yield part
            part = ""
        else:
            part += char
    if part:
        yield part


def _names(part: str) -> Iterator[str]:
    choices = [_numbers(inside) if not plain else [plain] for inside, plain in _pieces(part)]
    return ("".join(chosen) for chosen in product(*choices))


def _pieces(part: str) -> list[tuple[str, str]]:
    return [(found[1] or "", found[2] or "") for found in _PIECE.finditer(part)]


def _numbers(inside: str) -> list[str]:
    found: list[str] = []
    for item in inside.split(","):
        first, dash, last = item.partition("-")
        if not dash:
            found.append(item)
            continue
        found.extend(f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1))
    return found


def indices(text: str) -> tuple[int, ...]:
    """Elements of an array as squeue's %K writes them: "0-3,8,10-20:5%4"; empty for "N/A"."""
    found: list[int] = []
    for item in text.partition("%")[0].strip("[]").split(","):
        whole, _, step = item.partition(":")
        first, _, last = whole.partition("-")
        if not first.isdigit():
            continue
        found.extend(range(int(first), int(last or first) + 1, int(step or 1)))
    return tuple(found)
