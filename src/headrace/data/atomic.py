"""A file that appears under its name when it is whole and on the disk, or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from headrace.core.records import sync_folder
from headrace.data.errors import PackFailed


@contextlib.contextmanager
def written(out: Path) -> Iterator[BinaryIO]:
    """A temporary file beside ``out``, renamed to it at the end. Raise ``PackFailed``.

    When the body fails, nothing is left behind, and a file that was there is as it was.
    """
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
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
