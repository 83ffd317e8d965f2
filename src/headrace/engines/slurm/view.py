"""The runs of one user on one cluster as they are now: from their files and one squeue."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.core.events import Event, Missed
from headrace.core.process import boot_id, is_alive
from headrace.core.records import replace
from headrace.core.rundir import RunDir
from headrace.engines.contract import RunRow
from headrace.engines.local.history import History
from headrace.engines.local.index import Index, Indexed
from headrace.engines.local.rows import row_of
from headrace.engines.local.submission import Submission
from headrace.engines.slurm import commands, folders
from headrace.engines.slurm.call import Call
from headrace.engines.slurm.errors import SlurmRefused, SlurmUnreachable
from headrace.engines.slurm.jobs import SlurmJob, job_name, read_job
from headrace.engines.slurm.poll import Poll, Poller
from headrace.engines.slurm.rows import AccountingRow, QueueRow, parse_accounting
from headrace.engines.slurm.seeing import UNHEARD, Queue, Seen, from_accounting, see

_SACCT_JOBS = 200


@dataclass(frozen=True)
class Run:
    """A run with all that is known of it. ``queued``: its row in squeue's last answer."""

    asked: Submission
    history: History
    job: SlurmJob | None
    queued: QueueRow | None
    row: RunRow


class View:
    """``host``: what submissions of this cluster have for theirs. ``accounting``: sacct works."""

    def __init__(
        self, runs: Path, index: Index, poller: Poller, call: Call, *, host: str, accounting: bool
    ) -> None:
        self._runs = runs
        self._index = index
        self._poller = poller
        self._call = call
        self._host = host
        self._accounting = accounting

    def all(self, *, ended: bool) -> list[RunRow]:
        """In order of submission."""
        over = self._index.ids(final=True)
        live = [run.row for run in self._look(self._living(over))]
        old = (
            [one.row for one in self._index.all(ended=True) if one.row.id in over] if ended else []
        )
        rows = [*old, *(row for row in live if ended or not row.state.is_final)]
        return sorted(rows, key=_order)

    def named(self, name: str) -> list[Run]:
        """``name``: a run's or an array's id, n, n_i, or a Slurm job id where no run has that
        number. Ended runs come from the index, without a queue row."""
        found = [one for one in self._index.by_name(name) if one.submission.host == self._host]
        over = self._index.ids(final=True)
        asked = [one.submission for one in found if one.row.id not in over]
        if not found:
            asked = [one for one in self._living(over) if self._answers_to(one, name)]
        old = [
            Run(one.submission, self._history(one.submission), None, None, one.row)
            for one in found
            if one.row.id in over
        ]
        return sorted([*old, *self._look(asked)], key=lambda run: _order(run.row))

    def names(self) -> dict[str, str]:
        """Slurm job -> the run or array that it is, of those that have not ended."""
        found = {}
        for asked in self._living(self._index.ids(final=True)):
            job = read_job(self._runs, asked)
            if job is not None:
                found[job_name(job, asked)] = asked.run_id
                found.setdefault(job.job_id, asked.array_id or asked.run_id)
        return found

    def _answers_to(self, asked: Submission, name: str) -> bool:
        if name in (asked.run_id, asked.array_id, asked.run_id.rpartition("-")[2]):
            return True
        job = read_job(self._runs, asked) if name[:1].isdigit() else None
        return job is not None and name in (job.job_id, job_name(job, asked))

    def _living(self, over: set[str]) -> list[Submission]:
        """Those that the index does not know to have ended, also of other login nodes."""
        known = {one.submission.run_id: one.submission for one in self._index.all(ended=False)}
        present = {path.name for path in self._runs.iterdir() if not path.name.startswith(".")}
        strange = (
            folders.read_ours(RunDir(self._runs / name), self._host)
            for name in sorted(present - known.keys() - over)
        )
        found = [*known.values(), *(one for one in strange if one is not None)]
        return [one for one in found if one.run_id in present and one.host == self._host]

    def _history(self, asked: Submission) -> History:
        return folders.read_history(RunDir(self._runs / asked.run_id), asked)

    # --- looking ------------------------------------------------------------------------------

    def _look(self, asked: Sequence[Submission]) -> list[Run]:
        """One squeue at most, and one sacct for those that have gone without a word."""
        if not asked:
            return []
        poll = self._poller.poll()
        places = by_place(poll.rows)
        jobs = {one.array_id or one.run_id: read_job(self._runs, one) for one in asked}
        runs = [self._see(one, jobs[one.array_id or one.run_id], poll, places) for one in asked]
        gone = [run for run, seen in runs if seen.ask]
        told = self._told(gone)
        found = []
        for run, seen in runs:
            if seen.ask and run.job is not None:
                name = job_name(run.job, run.asked)
                seen = self._told_of(run, told[name]) if name in told else UNHEARD
            found.append(self._settled(run, seen))
        over = (run for run in found if run.row.state.is_final and run.job is not None)
        self._index.put(map(_indexed, over))
        return found

    def _see(
        self,
        asked: Submission,
        job: SlurmJob | None,
        poll: Poll,
        places: dict[tuple[str, int | None], QueueRow],
    ) -> tuple[Run, Seen]:
        place = None if job is None else places.get((job.job_id, asked.array_index))
        folder = RunDir(self._runs / asked.run_id)
        history, stop = self._history(asked), folders.read_stop(folder)
        queue = Queue(asked_s=poll.asked_s, row=place)
        submits = _submits(asked) if job is None else None
        seen = see(asked, history, job, queue, stop, self._poller.now_s(), submits=submits)
        row = row_of(asked, history, reason=seen.reason, run_dir=folder.root)
        return Run(asked, history, job, place, row), seen

    def _settled(self, run: Run, seen: Seen) -> Run:
        """With the state as it was seen; an end that only Slurm knows is written down."""
        history = run.history
        if seen.end is not None:
            self._write(run, seen.end)
            history = self._history(run.asked)
        row = replace(
            row_of(run.asked, history, reason=seen.reason, run_dir=Path(run.row.run_dir)),
            state=seen.state,
        )
        return Run(run.asked, history, run.job, run.queued, row)

    def _told_of(self, run: Run, told: AccountingRow | None) -> Seen:
        """That accounting does not know a run is written down, so that it is believed later."""
        missed_s, now_s = math.inf, self._poller.now_s()
        if told is None and self._accounting:
            since_s = run.history.missed_s
            missed_s = 0.0 if since_s is None else now_s - since_s
            if since_s is None:
                self._write(run, Missed())
        return from_accounting(told, missed_s=missed_s)

    def _write(self, run: Run, event: Event) -> None:
        folder = RunDir(self._runs / run.asked.run_id)
        attempt = max(folder.attempts(), default=0)
        folders.write_event(folder, "engine", event, attempt=attempt, now_s=self._poller.now_s)

    def _told(self, gone: Iterable[Run]) -> dict[str, AccountingRow | None]:
        """What accounting says, by job, None where it knows nothing; without those for which it
        could not be asked."""
        names = [job_name(run.job, run.asked) for run in gone if run.job is not None]
        found: dict[str, AccountingRow | None] = {}
        if not self._accounting:
            return dict.fromkeys(names)
        for first in range(0, len(names), _SACCT_JOBS):
            some = names[first : first + _SACCT_JOBS]
            try:
                text = self._call(commands.sacct(some))
            except (SlurmRefused, SlurmUnreachable):
                continue
            found |= dict.fromkeys(some) | {row.job_id: row for row in parse_accounting(text)}
        return found


def _submits(asked: Submission) -> bool | None:
    """Whether the process that hands it to Slurm lives; None for one of another host."""
    by = asked.submitter
    return None if by is None or by.boot_id != boot_id() else is_alive(by)


def by_place(rows: Iterable[QueueRow]) -> dict[tuple[str, int | None], QueueRow]:
    """(job, element) -> its row; an element on its own counts before the rest of its array."""
    found: dict[tuple[str, int | None], QueueRow] = {}
    for row in sorted(rows, key=lambda row: len(row.elements), reverse=True):
        for element in row.elements or (None,):
            found[row.array_job_id, element] = row
    return found


def _indexed(run: Run) -> Indexed:
    return Indexed(submission=run.asked, row=run.row, stretches=run.history.stretches)


def _order(row: RunRow) -> tuple[float, int, int]:
    number, _, element = row.id.rpartition("-")[2].partition("_")
    return row.submitted_s, int(number), int(element or -1)
