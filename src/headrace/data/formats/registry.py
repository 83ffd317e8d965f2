"""Which formats there are, and which of them a path is in. A new format is one line here."""

from pathlib import Path

from headrace.data.errors import DataNotFound, IndexRefused, NotADataset
from headrace.data.formats.format import Format

FORMATS: tuple[Format, ...] = ()
"""Asked in this order: what is sure (an index file, magic bytes) before what is a guess (names)."""


def names() -> list[str]:
    """What ``headrace data index --format`` takes."""
    return [known.name for known in FORMATS]


def of_name(name: str) -> Format:
    """Raise ``IndexRefused`` when there is no format of this name."""
    for known in FORMATS:
        if known.name == name:
            return known
    raise IndexRefused(
        f"--format {name}: there is no such format",
        why="a format is read by one file of code, and none has this name",
        remedy=f"use one of {', '.join(names())}",
    )


def of_path(path: Path) -> Format:
    """The first format that claims the path. Raise ``DataNotFound``, ``NotADataset``."""
    if not path.exists():
        raise DataNotFound(path)
    for known in FORMATS:
        if known.claims(path):
            return known
    raise NotADataset(path, f"it looks like none of {', '.join(names())}")
