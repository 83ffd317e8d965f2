"""A user's own daemon: the run directories are the truth, and everything is done as that user."""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path
from signal import SIGTERM

from headrace.core.events import Ended, Event, Placed, Requeued, Started
from headrace.core.order import StopRequest
from headrace.core.process import open_pidfd
from headrace.core.records import write_record
from headrace.core.rundir import EventWriter, RunDir, read_events
from headrace.engines.contract import Caller
from headrace.engines.local import lead
from headrace.engines.local.energy import measured_j
from headrace.engines.local.history import History, fold
from headrace.engines.local.store import Found, Left, Live, MakeOrder
from headrace.engines.local.submission import (
    Element,
    Submission,
    commit,
    number_of,
    read_submission,
    recover,
)


class Folders:
    """Implements ``headrace.engines.local.store.Store`` over one folder of run directories.

    ``program``: the lead; it is given a run directory as its last argument.
    """

    def __init__(
        self,
        runs: Path,
        *,
        host: str,
        program: tuple[str, ...],
        environ: Mapping[str, str],
        now_s: Callable[[], float],
    ) -> None:
        self._runs = runs
        self._host = host
        self._program = program
        self._environ = environ
        self._now_s = now_s

    def open(self, ended: set[str]) -> Found:
        recover(self._runs, self._host)
        runs, present, last_number = [], set(), 0
        for folder in self._runs.iterdir():
            last_number = max(last_number, number_of(folder.name))
            if folder.name in ended:
                present.add(folder.name)
                continue
            asked = read_submission(RunDir(folder))
            if asked is not None and asked.host == self._host:
                present.add(folder.name)
                runs.append((asked, self.read(asked)))
        return Found(runs, present, last_number)

    def close(self) -> None:
        """Nothing is held open."""

    def runs_of(self, who: Caller) -> Path:
        return self._runs

    def run(self, asked: Submission) -> RunDir:
        return RunDir(self._runs / asked.run_id)

    def add(
        self, elements: Sequence[Element], environment: Mapping[str, str], script: str | None
    ) -> None:
        commit(self._runs, elements, environment, script)

    def job(self, asked: Submission) -> str:
        return self.run(asked).job.read_text()

    def read(self, asked: Submission) -> History:
        run = self.run(asked)
        return fold(
            read_events(run.events / "engine.jsonl"),
            list(read_events(run.events / "lead.jsonl")),
            lead.read_lead(run),
        )

    def write(
        self, asked: Submission, event: Event, *, attempt: int | None = None, durable: bool = False
    ) -> History:
        run = self.run(asked)
        number = max(run.attempts(), default=0) if attempt is None else attempt
        writer = EventWriter(run, "engine", now_s=self._now_s)
        try:
            writer.write(event, attempt=number, durable=durable)
        finally:
            writer.close()
        return self.read(asked)

    def start(self, asked: Submission, placed: tuple[Placed, ...], make_order: MakeOrder) -> Live:
        run, history = self.run(asked), self.read(asked)
        attempt = max([len(history.attempts), *(number + 1 for number in run.attempts())])
        order = make_order(history, attempt)
        lead.forget_lead(run)
        write_record(run.order, order)
        self.write(asked, Started(placed=placed), attempt=attempt, durable=True)
        child = lead.spawn(run, self._program, self._environ)
        process = lead.let_go(run, child)
        pidfd = open_pidfd(process)
        assert pidfd is not None, "our child has a pidfd until we wait for it"
        return Live(pidfd, process, child)

    def adopt(self, asked: Submission) -> Live | None:
        process = lead.read_lead(self.run(asked))
        pidfd = None if process is None else open_pidfd(process)
        return None if pidfd is None else Live(pidfd, process, None)

    def ask_to_stop(self, asked: Submission, live: Live, request: StopRequest) -> None:
        write_record(self.run(asked).stop, request)
        live.signal(SIGTERM)

    def collect(self, asked: Submission, live: Live | None) -> Left:
        run, lead_error = self.run(asked), None
        if live is not None and live.child is not None:
            lead_error = f"exit status {live.child.wait()}, {lead.log_tail(run)}"
        killed = lead.clear(run)
        return Left(self.read(asked), killed, lead_error, measured_j(run))

    def settle(self, asked: Submission, left: Left, event: Ended | Requeued | None) -> History:
        return left.history if event is None else self.write(asked, event, durable=True)

    def overdue(self, now_s: float) -> float:
        """What a user's own lead does is its own business."""
        return inf
