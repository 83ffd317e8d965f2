"""Slurm's short form of node names: ``n[1-10,15],r[1-2]m[01-04],login``."""

import re
from itertools import product

from headrace.simulate.readers.remarks import BadField

NODES_MAX = 200_000
_RULE = "node names are written n[1-10,15],m2"
_NAME = re.compile(r"(?:[^\[\],\s]|\[[^\[\]]*\])+")
_PIECE = re.compile(r"\[([^\[\]]*)\]|([^\[\]]+)")
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)


def expand(text: str, *, field: str = "nodes") -> list[str]:
    """All names, in the order written. Raise ``BadField``."""
    names: list[str] = []
    rest = _NAME.sub("", text)
    if rest.strip(", ") or not text.strip():
        raise BadField(field, text, _RULE)
    for word in _NAME.findall(text):
        pieces = [
            _numbers(inside, text, field) if inside or not plain else [plain]
            for inside, plain in _PIECE.findall(word)
        ]
        count = 1
        for piece in pieces:
            count *= len(piece)
        if len(names) + count > NODES_MAX:
            raise BadField(field, text, f"they are {NODES_MAX:,} nodes at most")
        names += ["".join(parts) for parts in product(*pieces)]
    return names


def _numbers(inside: str, text: str, field: str) -> list[str]:
    found: list[str] = []
    for part in inside.split(","):
        ends = _RANGE.fullmatch(part)
        if ends is None:
            raise BadField(field, text, _RULE)
        first, last = int(ends[1]), int(ends[2] or ends[1])
        if last < first or last - first >= NODES_MAX:
            raise BadField(field, text, f"a range goes up, by {NODES_MAX:,} nodes at most")
        found += [str(number).zfill(len(ends[1])) for number in range(first, last + 1)]
    return found
