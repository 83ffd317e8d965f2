"""Which formats there are, and which of them a path is in. A new format is one line here."""

from pathlib import Path

from headrace.data.errors import DataNotFound, IndexRefused, NotADataset
from headrace.data.formats.arrow import Arrow
from headrace.data.formats.format import Format
from headrace.data.formats.images import Images
from headrace.data.formats.jsonl import Jsonl
from headrace.data.formats.mds import Mds
from headrace.data.formats.megatron import Megatron
from headrace.data.formats.npy import Npy
from headrace.data.formats.parquet import Parquet
from headrace.data.formats.raw import Raw
from headrace.data.formats.tar import Tar
from headrace.data.formats.text import Text

FORMATS: tuple[Format, ...] = (
    Mds(),
    Megatron(),
    Arrow(),
    Parquet(),
    Tar(),
    Npy(),
    Raw(),
    Jsonl(),
    Images(),
    Text(),
)
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
