"""The way to a Slurm cluster: no daemon, the engine works in the command's own process."""

import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from headrace.core.rundir import RunDir, read_plain
from headrace.engines.contract import (
    Acted,
    Batch,
    Caller,
    RunDetail,
    RunRow,
    Share,
    Spent,
    Submitted,
)
from headrace.engines.slurm.engine import SlurmEngine
from headrace.engines.slurm.errors import NotDone
from headrace.schedule.capacity import Capacity
from headrace.schedule.cluster import Reservation
from headrace.schedule.explain import Explanation, Ranked
from headrace.spec.load import read_submitted

_PIECE_BYTES = 1 << 20
_PAUSE_MIN_S, _PAUSE_MAX_S = 0.1, 2.0


class ClusterDoor:
    """Implements ``headrace.control.door.Door``. Used by one thread."""

    system = False

    def __init__(self, engine: SlurmEngine, who: Caller, runs: Path) -> None:
        self._engine = engine
        self._who = who
        self._runs = runs

    def runs_folder(self) -> str:
        return str(self._runs)

    def submit(
        self,
        job: str,
        environment: Mapping[str, str],
        *,
        script: str | None = None,
        token: str | None = None,
    ) -> Submitted:
        return self._engine.submit(
            read_submitted(job),
            token=token or secrets.token_hex(16),
            who=self._who,
            environment=environment,
            script=script,
        )

    def dry_run(self, job: str) -> Batch:
        return self._engine.dry_run(read_submitted(job), who=self._who)

    def runs(self, *, ended: bool) -> list[RunRow]:
        return self._engine.runs(ended=ended, who=self._who)

    def find(self, name: str) -> list[RunRow]:
        return self._engine.find(name, who=self._who)

    def detail(self, name: str) -> RunDetail:
        return self._engine.run(name, who=self._who)

    def wait(self, name: str, *, timeout_s: float = 25.0) -> list[RunRow]:
        """Looks at the run's own files often, and at Slurm as seldom as everybody does."""
        deadline_s, pause_s = time.monotonic() + timeout_s, _PAUSE_MIN_S
        while True:
            rows = self.find(name)
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or all(row.state.is_final for row in rows):
                return rows
            time.sleep(min(pause_s, left_s))
            pause_s = min(_PAUSE_MAX_S, pause_s * 1.5)

    def cancel(self, name: str, *, now: bool) -> list[Acted]:
        return self._engine.cancel(name, who=self._who, now=now)

    def explain(self, name: str, *, sooner: bool = True) -> Explanation:
        return self._engine.explain(name, who=self._who, sooner=sooner)

    def ranking(self) -> list[Ranked]:
        return self._engine.ranking(who=self._who)

    def hold(self, name: str) -> list[Acted]:
        return self._engine.hold(name, who=self._who)

    def release(self, name: str) -> list[Acted]:
        return self._engine.release(name, who=self._who)

    def requeue(self, name: str) -> list[Acted]:
        return self._engine.requeue(name, who=self._who)

    def resize(self, name: str, nodes_min: int, nodes_max: int) -> list[Acted]:
        return self._engine.resize(name, nodes=(nodes_min, nodes_max), who=self._who)

    def nodes(self) -> list[Capacity]:
        return self._engine.nodes()

    def usage(self) -> list[Spent]:
        return self._engine.usage(who=self._who)

    def accounts(self) -> list[Share]:
        return self._engine.shares(who=self._who)

    def logs(self, name: str) -> list[str]:
        run = RunDir(Path(self.detail(name).run.run_dir))
        return [
            str(path.relative_to(run.root))
            for number in run.attempts()
            for path in sorted(run.attempt(number).glob("nodes/*/log"))
        ]

    def piece(self, name: str, path: str, offset: int) -> bytes:
        run_dir = Path(self.detail(name).run.run_dir)
        return read_plain(run_dir / path, _PIECE_BYTES, offset)

    def reservations(self) -> list[Reservation]:
        return self._engine.reservations()

    def reserve(self, reservation: Reservation) -> NoReturn:
        raise _for_admins(f"scontrol create reservation ReservationName={reservation.name} ...")

    def unreserve(self, name: str) -> NoReturn:
        raise _for_admins(f"scontrol delete ReservationName={name}")


def _for_admins(command: str) -> NotDone:
    return NotDone(
        "reservations are not made here",
        why="on Slurm they are made by operators, with scontrol",
        remedy=f"ask an admin to run {command}",
    )
