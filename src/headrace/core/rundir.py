"""The run directory: the contract between all parts. Everything about a run can be rebuilt from it.

::

    <runs>/<run-id>/
      job.yaml                         what was asked
      script                           the batch script as it was when submitted, if it is one
      order.json                       what the lead was told (core.order)
      environment.json                 0600: the submitter's environment and the secrets' values
      stop.json                        a stop that was asked for (StopRequest), if any
      events/<writer>.jsonl            one file a writer; lines are events.Entry
      attempts/<n>/placement.json      the ranks of attempt n, in order (core.order.Placement)
      attempts/<n>/rendezvous.json     where its ranks meet; a record, not the channel
      attempts/<n>/nodes/<node>/log            lines "<rank> <o|e> <text>"
      attempts/<n>/nodes/<node>/metrics.jsonl  lines are events.Metric
      attempts/<n>/nodes/<node>/stacks/        Python stacks of ranks that hung
      attempts/<n>/nodes/<node>/flight/        NCCL's last collectives before a time-out, by torch
      data.json                        which samples each step takes (data.recorded)
      checkpoints/
      report.{json,html,png}

A writer appends to its own file and nobody else does, so no lock is needed, also on NFS. A torn
last line was never acknowledged: readers skip it, its writer cuts it off before it goes on.
"""

import contextlib
import difflib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from headrace.core.errors import NotFound
from headrace.core.events import Entry, Event
from headrace.core.records import DecodeError, decode, encode


class RunDir:
    """Paths inside one run's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def run_id(self) -> str:
        return self.root.name

    @property
    def job(self) -> Path:
        return self.root / "job.yaml"

    @property
    def script(self) -> Path:
        return self.root / "script"

    @property
    def order(self) -> Path:
        return self.root / "order.json"

    @property
    def environment(self) -> Path:
        return self.root / "environment.json"

    @property
    def stop(self) -> Path:
        return self.root / "stop.json"

    @property
    def events(self) -> Path:
        return self.root / "events"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def data(self) -> Path:
        return self.root / "data.json"

    def attempt(self, number: int) -> Path:
        return self.root / "attempts" / str(number)

    def node(self, attempt: int, node: str) -> Path:
        return self.attempt(attempt) / "nodes" / node

    def attempts(self) -> list[int]:
        """Numbers of all attempts, ascending, from 0."""
        folder = self.root / "attempts"
        if not folder.is_dir():
            return []
        return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


class EventWriter:
    """Appends entries to ``events/<writer>.jsonl``; goes on where an earlier process stopped."""

    def __init__(self, run: RunDir, writer: str, *, now_s: Callable[[], float]) -> None:
        run.events.mkdir(parents=True, exist_ok=True)
        self._path = run.events / f"{writer}.jsonl"
        self._now_s = now_s
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._seq = self._recover()

    def _recover(self) -> int:
        """Cut off a torn last line; return the next sequence number."""
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            os.ftruncate(self._descriptor, whole)
        os.lseek(self._descriptor, whole, os.SEEK_SET)
        return data.count(b"\n", 0, whole)

    def write(self, event: Event, *, attempt: int, durable: bool = False) -> Entry:
        """Append one event. ``durable`` waits for the disk: for what must survive a power cut.

        Raise ``OSError``; nothing of the event is left then.
        """
        entry = Entry(seq=self._seq, attempt=attempt, time_s=self._now_s(), event=event)
        line = encode(entry) + b"\n"
        start = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        try:
            written = os.write(self._descriptor, line)
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
            if durable:
                os.fsync(self._descriptor)
        except OSError:
            os.lseek(self._descriptor, start, os.SEEK_SET)
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, start)
            raise
        self._seq += 1
        return entry

    def close(self) -> None:
        os.close(self._descriptor)


def read_lines(path: Path) -> list[bytes]:
    """All whole lines; a torn last line is left out. An absent file has none."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return data[: data.rfind(b"\n") + 1].splitlines()


def read_plain(path: Path, limit: int, offset: int = 0) -> bytes:
    """At most ``limit`` bytes of a plain file, of its end if ``limit`` is negative.

    Raise ``OSError``: a link, a pipe or a device is none.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path} is not a plain file")
        start = max(0, found.st_size + limit) if limit < 0 else offset
        return os.pread(descriptor, abs(limit), start)
    finally:
        os.close(descriptor)


def read_events(path: Path) -> Iterator[Entry]:
    """Entries of one writer's file, in order. Kinds not known to this version are skipped."""
    for line in read_lines(path):
        try:
            yield decode(line, Entry)
        except DecodeError:
            continue


def merged_events(run: RunDir) -> list[tuple[str, Entry]]:
    """(writer, entry) of all writers, in the order of (attempt, time, writer, number)."""
    found = [
        (path.stem, entry)
        for path in sorted(run.events.glob("*.jsonl"))
        for entry in read_events(path)
    ]
    return sorted(found, key=lambda item: (item[1].attempt, item[1].time_s, item[0], item[1].seq))


class RunNotFound(NotFound):
    """No run, or more than one, answers to a word."""

    code = "HR-CORE-003"

    def __init__(self, word: str, runs: Path, near: list[str]) -> None:
        super().__init__(
            f"no single run answers to {word!r}",
            why=f"it is no folder and names no one run in {runs}",
            remedy=f"one of: {', '.join(near)}" if near else "headrace ps --all shows all runs",
        )


def find_run(word: str, runs: Path) -> RunDir:
    """The run that ``word`` names: a run directory, a run id, or the number at its end ("12_3").

    Raise ``RunNotFound`` with near matches.
    """
    if "/" in word and os.path.isdir(word):
        return RunDir(Path(word).resolve())
    try:
        names = sorted(path.name for path in runs.iterdir() if path.is_dir())
    except OSError:
        names = []
    if word in names:
        return RunDir(runs / word)
    numbered = [name for name in names if name.rpartition("-")[2] == word]
    if len(numbered) == 1:
        return RunDir(runs / numbered[0])
    if not numbered and word and os.path.isdir(os.path.join(word, "events")):
        return RunDir(Path(word).resolve())
    raise RunNotFound(word, runs, numbered or difflib.get_close_matches(word, names, n=3))
