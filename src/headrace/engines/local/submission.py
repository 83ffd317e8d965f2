"""Run directories come into being here, all of a submission or none of it.

A submission is written to ``<runs>/.new-<host>-<token>/<run-id>/`` and renamed to ``.ready-...``:
that rename commits it. Its run directories then move up to ``<runs>/<run-id>``. After a crash a
``.new-`` folder is thrown away, since nobody was told of it, and a ``.ready-`` folder is moved up.

``submission.json`` in a run directory holds what the queue needs to know, and whose run it is: runs
of other hosts and engines may lie in the same folder.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from headrace.core import events
from headrace.core.process import Process
from headrace.core.records import DecodeError, Record, encode, read_record, sync_folder
from headrace.core.rundir import EventWriter, RunDir
from headrace.schedule.request import Request

_FLUSHED_AT_ONCE = 8


class WaitsFor(Record, frozen=True, kw_only=True):
    """``condition``: ok, notok, any."""

    run_id: str
    condition: str


class Submission(Record, frozen=True, kw_only=True):
    """One run as queued. ``number`` is never used again in this runs folder.

    ``uid`` and ``runs``, the folder of its run directory, are None in records of old. ``given_s``:
    what a preempted run had on its cluster, from the first word to the kill, when it was submitted.
    ``submitter``: the process that hands it over, where that takes more than to write it down.
    """

    engine: str = "local"
    host: str
    run_id: str
    number: int
    name: str
    user: str
    token: str
    submitted_s: float
    priority: int
    request: Request
    after: tuple[WaitsFor, ...] = ()
    array_id: str | None = None
    array_index: int | None = None
    array_throttle: int | None = None
    restarts_max: int
    restart_on: tuple[str, ...]
    limit_s: float | None = None
    account: str = ""
    qos: str = "normal"
    partitions: tuple[str, ...] = ()
    constraint: str | None = None
    reservation: str | None = None
    uid: int | None = None
    runs: str | None = None
    given_s: float | None = None
    submitter: Process | None = None


class Element(Record, frozen=True, kw_only=True):
    """One run to be written. ``job`` is the text of job.yaml."""

    submission: Submission
    job: str


def submission_file(run: RunDir) -> Path:
    return run.root / "submission.json"


def read_submission(run: RunDir) -> Submission | None:
    """None when the folder is no run of an engine like this."""
    try:
        return read_record(submission_file(run), Submission)
    except (FileNotFoundError, NotADirectoryError, DecodeError):
        return None


def number_of(folder: str) -> int:
    """The number in a run's id, of any host; 0 in any other name."""
    found = re.fullmatch(r".+-(\d{1,17})(?:_\d+)?", folder, re.ASCII)
    return int(found[1]) if found else 0


def commit(
    runs: Path, elements: Sequence[Element], environment: Mapping[str, str], script: str | None
) -> None:
    """Bring the elements' run directories into being, durably and all at once."""
    host, token = elements[0].submission.host, elements[0].submission.token
    staging = runs / f".new-{host}-{token}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700)
    secret, texts = encode(dict(environment)), _Texts()
    for element in elements:
        _write(RunDir(staging / element.submission.run_id), element, secret, script, texts)
    _flush(staging)
    ready = runs / f".ready-{host}-{token}"
    os.rename(staging, ready)
    sync_folder(runs)
    _move_up(ready, runs)


def recover(runs: Path, host: str) -> None:
    """Finish or undo what a daemon of this host that died left half done."""
    for folder in runs.glob(f".new-{host}-*"):
        shutil.rmtree(folder)
    for folder in runs.glob(f".ready-{host}-*"):
        _move_up(folder, runs)


def _move_up(ready: Path, runs: Path) -> None:
    for folder in sorted(ready.iterdir()):
        os.rename(folder, runs / folder.name)
    sync_folder(runs)
    ready.rmdir()


class _Texts:
    """Files that are never changed in place: those with the same text are one file, by links, where
    the file system has them."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], Path] = {}

    def write(self, path: Path, data: bytes, mode: int) -> None:
        known = self._known.get((path.name, data))
        if known is not None:
            with contextlib.suppress(OSError):
                os.link(known, path)
                return
        _write_new(path, data, mode)
        self._known[path.name, data] = path


def _write(
    run: RunDir, element: Element, environment: bytes, script: str | None, texts: _Texts
) -> None:
    """In place, and not yet on the disk: nobody sees the folder yet."""
    run.root.mkdir()
    texts.write(run.job, element.job.encode(), 0o644)
    if script is not None:
        texts.write(run.script, script.encode(), 0o755)
    texts.write(run.environment, environment, 0o600)
    _write_new(submission_file(run), encode(element.submission), 0o644)
    asked = element.submission
    writer = EventWriter(run, "engine", now_s=lambda: asked.submitted_s)
    event = events.Submitted(run_id=asked.run_id, user=asked.user, token=asked.token)
    writer.write(event, attempt=0)
    writer.close()


def _write_new(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _flush(top: Path) -> None:
    """``top`` and all below it, once everything is written: on a file system with a journal the
    first flush takes most of the rest along, and over a network they wait side by side."""
    with ThreadPoolExecutor(_FLUSHED_AT_ONCE) as pool:
        list(pool.map(_flush_one, [top, *top.rglob("*")]))


def _flush_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
