"""Which files lie under a path: in an order of their own, and never outside of the path.

Names are compared as bytes, so the order is the same on every machine and file system. Hidden files
and indexes are left out, and so is what is no regular file (opening a pipe would wait for ever). A
link to a file below the same folder is followed; a link to a folder below it is not, since what is
there is listed under its own name; a link that leads out is refused. A name that is not UTF-8 keeps
its bytes as surrogates (``os.fsencode`` gives them back).
"""

import fnmatch
import os
import re
import stat
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from headrace.data.errors import IndexRefused, NotADataset
from headrace.data.places import SUFFIX

_ESCAPED = re.compile(rb"\\(\\|x[0-9a-f]{2})")
PEEKED = 10_000
"""Names looked at before a format says that a folder is none of its own."""


def unreadable(path: Path, error: OSError) -> IndexRefused:
    """The operating system does not let us read the path."""
    return IndexRefused(
        f"{path}: cannot be read",
        why=error.strerror or str(error),
        remedy="mend it, or leave it out with --glob",
    )


def listing(path: Path, suffixes: Sequence[str], glob: str | None = None) -> list[str]:
    """Names relative to ``path`` of the files that end in one of ``suffixes`` (any case) and match
    ``glob`` (shell pattern; ``*`` crosses folders), ordered; ["."] when the path is a file.

    With a glob, suffixes do not matter. Raise ``NotADataset`` when there is none, ``IndexRefused``
    when a link leads out or a folder cannot be read.
    """
    if not path.is_dir():
        return ["."]
    found = [
        name
        for name in _walk(path, strict=True)
        if (_ends(name, suffixes) if glob is None else fnmatch.fnmatchcase(name, glob))
    ]
    if not found:
        wanted = (
            f"no file ends in {', '.join(suffixes)}" if glob is None else f"--glob {glob}: none"
        )
        raise NotADataset(path, f"it is a folder, and {wanted}")
    return sorted(found, key=os.fsencode)


def any_of(path: Path, suffixes: Sequence[str]) -> bool:
    """Whether the path is a file that ends in one of ``suffixes``, or a folder with one in it."""
    if path.is_file():
        return _ends(path.name, suffixes)
    return any(_ends(name, suffixes) for name in islice(_walk(path, strict=False), PEEKED))


def located(path: Path, name: str) -> Path:
    """The file that ``Scan.files`` calls ``name``."""
    return path if name == "." else path / name


def legible(name: str) -> str:
    """The name as it can stand in JSON: bytes that are not UTF-8 as ``\\xff``. Different names stay
    different."""
    plain = name.replace("\\", "\\\\").encode("utf-8", "surrogateescape")
    return plain.decode("utf-8", "backslashreplace")


def from_legible(text: str) -> str:
    """The inverse of ``legible``."""
    plain = _ESCAPED.sub(
        lambda found: bytes.fromhex(found[1][1:].decode()) if found[1] != b"\\" else found[1],
        text.encode("utf-8", "surrogateescape"),
    )
    return plain.decode("utf-8", "surrogateescape")


def inside(root: Path, name: str) -> bool:
    """Whether ``name`` (any text from a file) leads to a regular file below ``root``."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    if not name or "\0" in name or os.path.isabs(name):
        return False
    real = os.path.realpath(root / name)
    return os.path.isfile(real) and real.startswith(os.path.realpath(root) + os.sep)


def _ends(name: str, suffixes: Sequence[str]) -> bool:
    return name.lower().endswith(tuple(suffixes))


def _walk(root: Path, *, strict: bool) -> Iterator[str]:
    """Relative names, in no order. Unless ``strict``, what would be refused is left out."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as entries:
                found = list(entries)
        except OSError as error:
            if strict:
                raise unreadable(root / folder, error) from None
            continue
        for entry in found:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith(".") or entry.name.endswith(SUFFIX):
                continue
            if entry.is_symlink() and not _leads_inside(root, name):
                if strict and os.path.exists(root / name):
                    raise _leads_out(root, name)
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(name)
            elif _is_regular(entry):
                yield name


def _is_regular(entry: os.DirEntry[str]) -> bool:
    try:
        return stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        return False


def _leads_inside(root: Path, name: str) -> bool:
    real, home = os.path.realpath(root / name), os.path.realpath(root)
    return real == home or real.startswith(home + os.sep)


def _leads_out(root: Path, name: str) -> IndexRefused:
    return IndexRefused(
        f"{root / name}: leads out of the folder",
        why=f"it is a link to {os.path.realpath(root / name)}, which is not below {root}",
        remedy="index the folder that holds both, or copy the file in",
    )
