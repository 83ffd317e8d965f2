"""Which class reads which file. A new format is one class (see ``dataset``) and one line here."""

from pathlib import Path

from headrace.data.errors import DataNotFound, NotADataset
from headrace.data.packed import PackedTokens


def open(path: str | Path, *, split: tuple[float, float] | None = None) -> PackedTokens:
    """Open a data set for reading; ``split`` offers a part of it, as fractions of its windows.

    Raise ``DataNotFound``, ``NotADataset``, ``DamagedData``, ``BatchesRefused`` (bad split).
    """
    place = Path(path)
    if not place.exists():
        raise DataNotFound(place)
    if place.is_dir():
        raise NotADataset(place, "it is a folder")
    return PackedTokens(place, split=split)
