"""Where the index of a data set lies: beside it, or, where that is read-only, in the user's cache.

``PATH`` has its index in ``PATH.hrindex`` when it is a file and in ``PATH/.hrindex`` when it is a
folder; else in ``$XDG_CACHE_HOME/headrace/indexes``, under a name made of its real path. Where
there are both, what was made last holds: a user's own is not hidden by one beside data of others.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import xxhash

SUFFIX = ".hrindex"


def beside(path: Path) -> Path:
    """Where the index of a file or folder lies when it may be written there."""
    return path / SUFFIX if path.is_dir() else path.with_name(path.name + SUFFIX)


def in_cache(path: Path, environ: Mapping[str, str]) -> Path | None:
    """Where it lies when it may not; None for a user without a home."""
    home = environ.get("HOME") or os.path.expanduser("~")  # "~" itself where there is none
    cache = Path(environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache"))
    if not cache.is_absolute():
        return None
    digest = xxhash.xxh3_128_hexdigest(os.fsencode(os.path.realpath(path)))
    return cache / "headrace" / "indexes" / f"{digest}{SUFFIX}"


def find_index(path: Path, environ: Mapping[str, str]) -> Path | None:
    """The index of a file or folder, if it has one: of two the one that was made last."""
    made = {place: _made_at(place) for place in (in_cache(path, environ), beside(path)) if place}
    found = max(made, key=made.__getitem__)
    return found if made[found] >= 0 else None


def writable_place(path: Path, environ: Mapping[str, str]) -> Path:
    """Where to write the index of ``path``."""
    place = beside(path)
    if os.access(place.parent, os.W_OK):
        return place
    return in_cache(path, environ) or place


def _made_at(place: Path) -> int:
    """-1 where no file is to be seen."""
    try:
        found = place.stat()
    except OSError:
        return -1
    return found.st_mtime_ns if stat.S_ISREG(found.st_mode) else -1


def root_of(index: Path, recorded: str) -> Path:
    """What an index describes: the file that it lies beside or the folder that it lies in, else the
    path that it was made from."""
    if index.name == SUFFIX:
        return index.parent
    neighbour = index.with_name(index.name.removesuffix(SUFFIX))
    if index.name.endswith(SUFFIX) and neighbour.is_file():
        return neighbour
    return Path(recorded)
