"""A file that appears under its name when it is whole and on the disk, or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from headrace.core.records import sync_folder, temporary_beside
from headrace.data.errors import PackFailed, PackRefused
from headrace.data.sections import is_ours_at

_WRITE_BYTES = 4 << 20
"""Written in large pieces, a file lies in large pieces in the page cache, and reading 50 KiB of it
takes half the time that it takes of a file that was written in pieces of 50 KiB."""


@contextlib.contextmanager
def written(out: Path) -> Iterator[BinaryIO]:
    """A temporary file beside ``out``, renamed to it at the end. Raise ``PackFailed``;
    ``PackRefused`` when it would replace what is none of ours, and so may be someone's data.

    When the body fails, nothing is left behind, and a file that was there is as it was.
    """
    try:
        _check(out)
    except OSError as error:
        raise PackFailed(out, error) from error
    temporary = temporary_beside(out)
    try:
        with temporary.open("xb", _WRITE_BYTES) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, out)
        sync_folder(out.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise PackFailed(out, error) from error
        raise


def _check(out: Path) -> None:
    if out.is_dir():
        raise PackRefused(
            f"{out} is a folder",
            why="what is written is a file",
            remedy="give it a name in that folder",
        )
    if out.is_file() and out.stat().st_size and not is_ours_at(out):
        raise PackRefused(
            f"{out} is there, and is no index, pack or table of packs",
            why="it may be data, even a source of what would replace it",
            remedy="give another name to write to, or move that file away",
        )
