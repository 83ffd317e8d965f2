"""Headrace with places of its own: the real command line, daemon and leads."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace.core.events import LeadStarted, Started
from headrace.core.rundir import RunDir, merged_events, read_events

HEADRACE = str(Path(sys.executable).with_name("headrace"))


class Site:
    """Headrace with places of its own."""

    def __init__(self, folder: Path) -> None:
        self.runs = folder / "runs"
        self.environment = dict(os.environ) | {
            "HEADRACE_RUNS": str(self.runs),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_RUNTIME_DIR": str(folder),
        }

    def configure(self, text: str) -> None:
        """Write the site file. Before the daemon starts."""
        path = Path(self.environment["XDG_CONFIG_HOME"]) / "headrace" / "site.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def __call__(self, *words: str, check: bool = True) -> str:
        """What the command wrote on stdout."""
        done = self.run(*words)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [HEADRACE, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )

    def status(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("status", run_id, "--json"))
        return found

    def daemon_pid(self) -> int:
        match = re.search(r"pid (\d+)", self("daemon", "status"))
        assert match is not None
        return int(match[1])

    def started_s(self, run_id: str) -> float:
        """When the engine let the run start."""
        entries = read_events(RunDir(self.runs / run_id).events / "engine.jsonl")
        return next(entry.time_s for entry in entries if isinstance(entry.event, Started))

    def lead_pid(self, run_id: str) -> int:
        entries = merged_events(RunDir(self.runs / run_id))
        return [e.event.pid for _, e in entries if isinstance(e.event, LeadStarted)][-1]


def until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.05)
