"""What a source is made of: its files with size and time of change, and one fingerprint of them.

A source that has changed in any file has another fingerprint, so copies of its old state are never
taken for it. Links to files and folders are followed, as a program that reads them would; what is
neither file nor folder is left out.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import xxhash

from headrace.core.records import Record, read_record, replace, write_record
from headrace.data.cache.errors import SourceMissing
from headrace.data.formats.listing import from_legible, legible


class Listed(Record, frozen=True, kw_only=True):
    """``name`` is relative to the source; the file's own name where the source is a file."""

    name: str
    size_bytes: int
    mtime_ns: int


class Listing(Record, frozen=True, kw_only=True):
    """``source``: its real path. ``files`` in an order that does not depend on the file system."""

    source: str
    is_folder: bool
    files: tuple[Listed, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def fingerprint(self) -> str:
        digest = xxhash.xxh3_128(os.fsencode(self.source))
        for file in self.files:
            digest.update(b"\0" + os.fsencode(file.name))
            digest.update(f"\0{file.size_bytes}\0{file.mtime_ns}".encode())
        return digest.hexdigest()

    def path(self, file: Listed) -> Path:
        """Where the file lies in the source."""
        return Path(self.source, file.name) if self.is_folder else Path(self.source)


def list_source(source: Path) -> Listing:
    """Raise ``SourceMissing`` when it is not there or cannot be listed."""
    real = Path(os.path.realpath(source))
    try:
        found = real.stat()
        if stat.S_ISDIR(found.st_mode):
            files = sorted(_walk(real, "", frozenset()), key=lambda file: file.name)
            return Listing(source=str(real), is_folder=True, files=tuple(files))
    except OSError as error:
        why = f"{error.filename or real}: {(error.strerror or str(error)).lower()}"
        raise SourceMissing(str(source), why) from error
    if not stat.S_ISREG(found.st_mode):
        raise SourceMissing(str(source), "it is neither a file nor a folder")
    one = Listed(name=real.name, size_bytes=found.st_size, mtime_ns=found.st_mtime_ns)
    return Listing(source=str(real), is_folder=False, files=(one,))


def write_listing(path: Path, listing: Listing) -> None:
    """Raise ``OSError``."""
    write_record(path, _spelled(listing, legible))


def read_listing(path: Path) -> Listing:
    """Raise ``OSError``, ``DecodeError``."""
    return _spelled(read_record(path, Listing), from_legible)


def _spelled(listing: Listing, spell: Callable[[str], str]) -> Listing:
    files = tuple(replace(file, name=spell(file.name)) for file in listing.files)
    return replace(listing, source=spell(listing.source), files=files)


def _walk(folder: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[Listed]:
    own = folder.stat()
    identity = (own.st_dev, own.st_ino)
    if identity in above:  # a link to a folder above it
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                found = entry.stat()
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ELOOP):  # a link to nowhere, or to itself
                    continue
                raise
            if stat.S_ISDIR(found.st_mode):
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", above | {identity})
            elif stat.S_ISREG(found.st_mode):
                yield Listed(
                    name=prefix + entry.name, size_bytes=found.st_size, mtime_ns=found.st_mtime_ns
                )
