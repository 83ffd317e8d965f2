"""The journal of a whole machine's queue: append-only, root's own, the truth.

A line is a checksum, a blank and a record as JSON. ``append`` returns when its lines are on the
disk; a line that a crash tore was never acknowledged and is cut off. Runs that have ended move to a
second file of the same form when the journal is rewritten, which a rename makes whole or not at
all; a run that stands in both files is the same run.
"""

import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from headrace.core.errors import Refused
from headrace.core.events import Entry
from headrace.core.process import Process
from headrace.core.records import (
    DecodeError,
    LineDecoder,
    Tagged,
    encode,
    sync_folder,
)
from headrace.engines.local.submission import Element, Submission

_REWRITE_LINES = 20_000


class Accepted(Tagged, frozen=True, kw_only=True):
    """A submission, all of it. ``script``: the text of its batch script."""

    elements: tuple[Element, ...]
    script: str | None


class Happened(Tagged, frozen=True, kw_only=True):
    run_id: str
    entry: Entry


class Led(Tagged, frozen=True, kw_only=True):
    """Who the run's present lead is. ``kill_at_s``: when no excuse counts any more."""

    run_id: str
    process: Process
    kill_at_s: float | None


class Kept(Tagged, frozen=True, kw_only=True):
    """A run in one line, when the journal is rewritten. ``job`` is empty for one that has ended."""

    submission: Submission
    entries: tuple[Entry, ...]
    job: str = ""
    script: str | None = None
    led: Led | None = None


Line = Accepted | Happened | Led | Kept
_decode = LineDecoder[Line](Line)


class JournalDamaged(Refused):
    """A line that was once acknowledged cannot be read."""

    code = "HR-LOCAL-010"

    def __init__(self, path: Path, number: int) -> None:
        super().__init__(
            f"{path}:{number} is damaged",
            why="its checksum does not fit, and good lines follow, so a crash did not tear it",
            remedy=f"restore {path} from a backup, or remove that line: its run is then lost",
        )


class Journal:
    """Two files in ``folder``: ``journal`` and ``ended``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.lines = 0
        self._descriptor: int | None = None

    def read(self) -> Iterator[Line]:
        """All lines, those of ended runs first. Once, before ``append``.

        Raise ``JournalDamaged``.
        """
        for name in ("ended", "journal"):
            path = self._folder / name
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            good_bytes = 0
            with os.fdopen(os.dup(descriptor), "rb") as file:
                for number, raw in enumerate(file, 1):
                    line = _read_line(raw)
                    if line is None:
                        if file.read(1):
                            raise JournalDamaged(path, number)
                        break
                    good_bytes += len(raw)
                    self.lines += name == "journal"
                    yield line
            os.ftruncate(descriptor, good_bytes)
            os.lseek(descriptor, 0, os.SEEK_END)
            if name == "journal":
                self._descriptor = descriptor
            else:
                os.close(descriptor)
        sync_folder(self._folder)

    def append(self, *lines: Line) -> None:
        """Durably, all or nothing. Raise ``OSError``."""
        assert self._descriptor is not None, "read comes first"
        _append(self._descriptor, lines)
        self.lines += len(lines)

    @property
    def is_long(self) -> bool:
        return self.lines > _REWRITE_LINES

    def rewrite(self, waiting: Sequence[Kept], ended: Sequence[Kept]) -> None:
        """Leave only what is needed: a line for each run."""
        with open(self._folder / "ended", "ab", buffering=0) as file:
            _append(file.fileno(), ended)
        fresh = self._folder / "journal.new"
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        _append(descriptor, waiting)
        os.replace(fresh, self._folder / "journal")
        sync_folder(self._folder)
        self.close()
        self._descriptor, self.lines = descriptor, len(waiting)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def entries_of(journal: Journal) -> list[tuple[Submission, list[Entry]]]:
    """Every run that was ever accepted, and what happened to it, in order."""
    asked: dict[str, Submission] = {}
    entries: dict[str, list[Entry]] = {}
    for line in journal.read():
        match line:
            case Accepted(elements=elements):
                for one in elements:
                    asked[one.submission.run_id] = one.submission
                    entries[one.submission.run_id] = []
            case Happened(run_id=run_id, entry=entry):
                entries[run_id].append(entry)
            case Kept(submission=submission):
                asked[submission.run_id] = submission
                entries[submission.run_id] = list(line.entries)
            case _:
                pass
    return [(asked[run_id], entries[run_id]) for run_id in asked]


def _append(descriptor: int, lines: Sequence[Line]) -> None:
    data = b"".join(_written(line) for line in lines)
    begin = os.lseek(descriptor, 0, os.SEEK_END)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, begin)
        raise


def _written(line: Line) -> bytes:
    text = encode(line)
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _read_line(raw: bytes) -> Line | None:
    checksum, _, text = raw.rstrip(b"\n").partition(b" ")
    try:
        if not raw.endswith(b"\n") or int(checksum, 16) != zlib.crc32(text):
            return None
        return _decode(text)
    except (ValueError, DecodeError):
        return None
