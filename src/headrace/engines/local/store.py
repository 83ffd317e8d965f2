"""Where runs are kept, and how their files are reached: one contract for both kinds of daemon.

``own.Folders`` is a user's own daemon: the run directories are the truth. ``system.Ledger`` is the
daemon of a whole machine: a journal of root is the truth, and nothing below a user's folder is
touched but as that user.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from headrace.core.events import Ended, Event, Placed, Requeued
from headrace.core.order import Order, StopRequest
from headrace.core.process import Process, send_signal
from headrace.core.rundir import RunDir
from headrace.engines.contract import Caller
from headrace.engines.local.history import History
from headrace.engines.local.submission import Element, Submission

MakeOrder = Callable[[History, int], Order]
"""From the run's past and the number of its next attempt to what the lead is told."""


@dataclass
class Live:
    """A process watched for a run: its lead, or who looks after what the lead left.

    ``lead`` is None in the second case; ``child`` is None for one that another daemon started.
    """

    pidfd: int
    lead: Process | None
    child: subprocess.Popen[bytes] | None

    def forget(self) -> None:
        """It outlives us: nobody waits for it."""
        os.close(self.pidfd)
        if self.child is not None:
            self.child.returncode = 0

    def signal(self, number: signal.Signals) -> None:
        if self.lead is not None:
            send_signal(self.lead, number)


class Left(NamedTuple):
    """What a lead that is gone left. ``lead_error``: why it did not begin, if we let it go.

    ``energy_j``: measured for all attempts so far, where there are counters.
    """

    history: History
    killed: Sequence[int]
    lead_error: str | None
    energy_j: float | None


class Found(NamedTuple):
    """What there is when a daemon starts. ``present``: ids of all runs, ended ones included.

    ``runs``: those of them that were not known to have ended.
    """

    runs: list[tuple[Submission, History]]
    present: set[str]
    last_number: int


class Store(Protocol):
    def open(self, ended: set[str]) -> Found:
        """Look at what there is. ``ended``: runs known to have ended, which need no second look."""
        ...

    def close(self) -> None: ...

    def runs_of(self, who: Caller) -> Path:
        """The folder for new run directories of ``who``. Raise ``HeadraceError``."""
        ...

    def run(self, asked: Submission) -> RunDir: ...

    def add(
        self,
        elements: Sequence[Element],
        environment: Mapping[str, str],
        script: str | None,
    ) -> None:
        """Keep a submission, durably and all of it or nothing."""
        ...

    def job(self, asked: Submission) -> str:
        """The text of job.yaml as submitted."""
        ...

    def read(self, asked: Submission) -> History:
        """What has become of the run."""
        ...

    def write(
        self, asked: Submission, event: Event, *, attempt: int | None = None, durable: bool = False
    ) -> History:
        """``attempt``: the one that runs or ran last, unless said otherwise."""
        ...

    def start(self, asked: Submission, placed: tuple[Placed, ...], make_order: MakeOrder) -> Live:
        """Start a lead. Raise ``HeadraceError`` or ``OSError`` before it has begun."""
        ...

    def adopt(self, asked: Submission) -> Live | None:
        """The lead that another daemon started, if it lives."""
        ...

    def ask_to_stop(self, asked: Submission, live: Live, request: StopRequest) -> None: ...

    def collect(self, asked: Submission, live: Live | None) -> Left | Live:
        """``live`` has ended; None is a lead that ended unseen.

        Clear up after the lead and say what it left; or say whom to wait for before.
        """
        ...

    def settle(self, asked: Submission, left: Left, event: Ended | Requeued | None) -> History:
        """Write down what follows. None: the end that the lead itself wrote stands."""
        ...

    def overdue(self, now_s: float) -> float:
        """Kill what should have ended by now. Return when to look again."""
        ...
