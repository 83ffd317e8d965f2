"""Where the index of a data set lies: beside it, or, where that is read-only, in the user's cache.

``PATH`` has its index in ``PATH.hrindex`` when it is a file and in ``PATH/.hrindex`` when it is a
folder; else in ``$XDG_CACHE_HOME/headrace/indexes``, under a name made of its real path.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import xxhash

SUFFIX = ".hrindex"


def beside(path: Path) -> Path:
    """Where the index of a file or folder lies when it may be written there."""
    return path / SUFFIX if path.is_dir() else path.with_name(path.name + SUFFIX)


def in_cache(path: Path, environ: Mapping[str, str]) -> Path:
    """Where it lies when it may not."""
    home = environ.get("XDG_CACHE_HOME")
    cache = Path(home) if home else Path(environ.get("HOME") or Path.home()) / ".cache"
    digest = xxhash.xxh3_128_hexdigest(os.fsencode(os.path.realpath(path)))
    return cache / "headrace" / "indexes" / f"{digest}{SUFFIX}"


def find_index(path: Path, environ: Mapping[str, str]) -> Path | None:
    """The index of a file or folder, if it has one."""
    candidates = (beside(path), in_cache(path, environ))
    return next((one for one in candidates if one.is_file()), None)


def writable_place(path: Path, environ: Mapping[str, str]) -> Path:
    """Where to write the index of ``path``."""
    place = beside(path)
    if os.access(place.parent, os.W_OK):
        return place
    return in_cache(path, environ)


def root_of(index: Path, recorded: str) -> Path:
    """What an index describes: what it lies beside, else the path that it was made from."""
    if index.name == SUFFIX:
        return index.parent
    neighbour = index.with_name(index.name.removesuffix(SUFFIX))
    if index.name.endswith(SUFFIX) and neighbour.exists():
        return neighbour
    return Path(recorded)
