"""The log files of one run, read in pieces as they grow.

A node's log has lines ``<rank> <o|e> <text>``. Lines come node by node in the order in which they
are found; a torn last line waits for its rest.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from headrace.core.rundir import RunDir

if TYPE_CHECKING:
    from headrace.control.door import Door

_PIECE_BYTES = 1 << 20


class LogLine(NamedTuple):
    """``stream`` is o or e. ``text`` as written, without the newline. ``rank``: -1 for what ran on
    the node before its ranks."""

    rank: int
    stream: str
    text: bytes


class Lines(Protocol):
    def lines(self) -> Iterator[LogLine]:
        """What has been written since the last call."""
        ...


class Follower:
    """Reads on where it stopped. ``attempt`` None: all attempts, in order."""

    def __init__(self, run: RunDir, *, attempt: int | None = None) -> None:
        self._run = run
        self._attempt = attempt
        self._read: dict[Path, int] = {}

    def lines(self) -> Iterator[LogLine]:
        """What has been written since the last call."""
        for number in self._run.attempts():
            if self._attempt in (None, number):
                for path in sorted(self._run.attempt(number).glob("nodes/*/log"), key=_natural):
                    yield from self._more(path)

    def _more(self, path: Path) -> Iterator[LogLine]:
        with path.open("rb") as file:
            file.seek(self._read.get(path, 0))
            while piece := file.read(_PIECE_BYTES):
                if not piece.endswith(b"\n"):
                    piece += file.readline()
                whole = piece.rfind(b"\n") + 1
                self._read[path] = self._read.get(path, 0) + whole
                yield from (parse(line) for line in piece[:whole].splitlines())


class Distant:
    """As ``Follower``, through the daemon: for an admin, who may not read another's files."""

    def __init__(self, client: "Door", run_id: str, *, attempt: int | None = None) -> None:
        self._client = client
        self._run_id = run_id
        self._attempt = attempt
        self._read: dict[str, int] = {}

    def lines(self) -> Iterator[LogLine]:
        for name in self._client.logs(self._run_id):
            if self._attempt is None or f"attempts/{self._attempt}/" in name:
                yield from self._more(name)

    def _more(self, name: str) -> Iterator[LogLine]:
        rest = b""
        while piece := self._client.piece(self._run_id, name, self._read.get(name, 0) + len(rest)):
            *whole, rest = (rest + piece).split(b"\n")
            self._read[name] = self._read.get(name, 0) + sum(len(line) + 1 for line in whole)
            yield from (parse(line) for line in whole)


def parse(line: bytes) -> LogLine:
    """A line that is not in the form is shown whole, as rank 0's."""
    rank, _, rest = line.partition(b" ")
    stream, _, text = rest.partition(b" ")
    if not rank.removeprefix(b"-").isdigit() or stream not in (b"o", b"e"):
        return LogLine(0, "o", line)
    return LogLine(int(rank), stream.decode(), text)


def _natural(path: Path) -> tuple[int, str]:
    """By the number at the node name's end: box-9 before box-10."""
    name = path.parent.name
    digits = name.rpartition("-")[2]
    return (int(digits) if digits.isdigit() else -1, name)
