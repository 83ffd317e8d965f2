"""A real lead with real agents and ranks, without an engine."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import pytest

from headrace.core.events import Ended, Entry, Placed
from headrace.core.order import Order, RestartPolicy, SessionSettings
from headrace.core.process import marked
from headrace.core.records import write_record
from headrace.core.rundir import RunDir, merged_events

E = TypeVar("E")


class Launched:
    """A run directory with a lead working on it."""

    def __init__(self, root: Path, command: tuple[str, ...], **changes: object) -> None:
        self.run = RunDir(root)
        root.mkdir(parents=True)
        environment = root / "environment.json"
        environment.write_text(json.dumps({"PATH": os.environ["PATH"], "HOME": "/tmp"}))
        fields: dict[str, object] = {
            "run_id": root.name,
            "name": "test",
            "attempt": 0,
            "placed": tuple(
                Placed(node=f"node-{n}", address="127.0.0.1", cpus=(0,)) for n in range(2)
            ),
            "ranks_per_node": 1,
            "cpus_per_rank": 1,
            "framework": "torch",
            "command": command,
            "workdir": str(root),
            "env": {},
            "environment_file": str(environment),
            "session": SessionSettings(),
            "setup": None,
            "time_limit_s": None,
            "time_used_s": 0.0,
            "stop_grace_s": 5.0,
            "kill_wait_s": 1.0,
            "hang_s": None,
            "restart": RestartPolicy(silent_error=True, backoff_s=0.1, no_progress=2),
            "restarts_used": 0,
        }
        self.order = Order(**(fields | changes))  # type: ignore[arg-type]
        write_record(self.run.order, self.order)
        with (root / "lead.log").open("ab") as log:
            argv = [sys.executable, "-m", "headrace.launch.lead", str(root)]
            self.lead = subprocess.Popen(
                argv,
                stdout=log,
                stderr=log,
                env=os.environ | {"HEADRACE_RUN_DIR": str(root)},
                start_new_session=True,
            )

    def entries(self) -> list[Entry]:
        return [entry for _, entry in merged_events(self.run)]

    def events_of(self, kind: type[E]) -> list[E]:
        return [entry.event for entry in self.entries() if isinstance(entry.event, kind)]

    def log(self, attempt: int = 0) -> str:
        paths = sorted(self.run.attempt(attempt).glob("nodes/*/log"))
        return "".join(path.read_text() for path in paths)

    def end(self, timeout_s: float = 60.0) -> Ended:
        try:
            self.lead.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"no end: {self.entries()}\n{(self.run.root / 'lead.log').read_text()}")
        found = self.events_of(Ended)
        assert len(found) == 1, (self.run.root / "lead.log").read_text()
        return found[0]

    def left(self) -> list[int]:
        """Processes of the run besides its lead."""
        found = marked("HEADRACE_RUN_DIR", str(self.run.root))
        return [pid for pid in found if pid != self.lead.pid]

    def guards(self) -> dict[str, int]:
        """Node -> pid of its guard."""
        return self._called("guard")

    def inner(self, node: str) -> int:
        return self._called("agent")[node]

    def _called(self, role: str) -> dict[str, int]:
        """Node -> pid of the process of that role, by the names that ps shows."""
        found = {}
        for pid in self.left():
            with contextlib.suppress(OSError):
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                if name.startswith(f"{role}:"):
                    found[name.removeprefix(f"{role}:")] = pid
        return found
