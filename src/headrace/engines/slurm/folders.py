"""The run directories of one user on one cluster: numbers, submissions, what became of runs.

The files are the truth. Events come from three writers, one at a time each: ``engine`` (commands of
the user), ``batch`` (our programs in the job before and after the lead) and ``lead``.
"""

import contextlib
import itertools
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from headrace.core.events import Ended, Entry, Event
from headrace.core.order import StopRequest
from headrace.core.records import DecodeError, read_record
from headrace.core.rundir import EventWriter, RunDir, read_events
from headrace.engines.local.history import History, fold
from headrace.engines.local.lead import read_lead
from headrace.engines.local.submission import (
    Submission,
    number_of,
    read_submission,
    submission_file,
)
from headrace.engines.slurm.jobs import ARRAYS, family_folder

_NUMBERS = ".numbers"
_KEPT = 16
_SEEN_EVERYWHERE_S = 3600.0


def claim_number(runs: Path, least: int) -> int:
    """A number that no run in this folder has had, also if other hosts ask at the same time.

    Making a folder is atomic on every file system, network ones included.
    """
    folder = runs / _NUMBERS
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    claimed = sorted(int(name) for name in os.listdir(folder) if name.isdigit())
    taken = max([least, *claimed[-1:], *(number_of(name) for name in os.listdir(runs))])
    for number in itertools.count(taken + 1):
        try:
            (folder / str(number)).mkdir()
        except FileExistsError:
            continue
        for old in claimed[:-_KEPT]:
            with contextlib.suppress(OSError):
                (folder / str(old)).rmdir()
        return number
    raise AssertionError("numbers do not end")


def discard(runs: Path, asked: Sequence[Submission]) -> None:
    """Runs that Slurm did not take."""
    for folder in {family_folder(runs, asked[0]), *(runs / one.run_id for one in asked)}:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_arrays(runs: Path, now_s: float) -> None:
    """Remove what the elements of an array share, its copy of the code too, when the directories of
    all of them have gone: without one, no element starts.

    One that was made on another host lately may not be seen here yet.
    """
    with contextlib.suppress(OSError):
        shared = _names(runs / ARRAYS)
        needed = {name.rpartition("_")[0] for name in os.listdir(runs)}
        for folder in (runs / ARRAYS / name for name in shared if name not in needed):
            if now_s - folder.stat().st_mtime > _SEEN_EVERYWHERE_S:
                shutil.rmtree(folder, ignore_errors=True)


def host_of(cluster: str) -> str:
    """What stands as the host of a submission: no machine's queue takes it for its own."""
    return f"slurm:{cluster}"


def read_ours(run: RunDir, host: str) -> Submission | None:
    found = read_submission(run)
    return found if found is not None and found.host == host else None


def require_submission(run: RunDir) -> Submission:
    """Raise ``OSError`` or ``DecodeError``."""
    return read_record(submission_file(run), Submission)


def read_history(run: RunDir, asked: Submission) -> History:
    """What its files say. A run that has not begun costs one look, at the folder: a network file
    system forgets with it that a file was not there.

    Commands of the user write down an end that they make out from Slurm's; what the job itself says
    of its end comes before that, also when it arrives later."""
    engine = list(read_events(run.events / "engine.jsonl"))
    if "batch.jsonl" not in _names(run.events):
        return fold(engine, [], None)
    batch, lead = (
        list(read_events(run.events / "batch.jsonl")),
        list(read_events(run.events / "lead.jsonl")),
    )
    certain = [entry for entry in engine if not isinstance(entry.event, Ended)]
    told = fold(_in_time(certain, batch), lead, read_lead(run))
    if told.state.is_final or len(certain) == len(engine):
        return told
    return fold(_in_time(engine, batch), lead, read_lead(run))


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _in_time(*writers: Sequence[Entry]) -> list[Entry]:
    return sorted(itertools.chain(*writers), key=lambda entry: entry.time_s)


def write_event(
    run: RunDir,
    writer: str,
    event: Event,
    *,
    attempt: int,
    now_s: Callable[[], float] = time.time,
) -> None:
    events = EventWriter(run, writer, now_s=now_s)
    try:
        events.write(event, attempt=attempt, durable=True)
    finally:
        events.close()


def next_attempt(run: RunDir, history: History) -> int:
    return max([len(history.attempts), *(number + 1 for number in run.attempts())])


def forget_stop(run: RunDir, *, before_s: float | None = None) -> None:
    """One that was asked before then, of an earlier place; None is any. A cancel stands."""
    stop = read_stop(run)
    if stop is None or stop.reason == "cancel":
        return
    with contextlib.suppress(FileNotFoundError):
        if before_s is None or run.stop.stat().st_mtime < before_s:
            run.stop.unlink()


def read_stop(run: RunDir) -> StopRequest | None:
    try:
        return read_record(run.stop, StopRequest)
    except (FileNotFoundError, DecodeError):
        return None
