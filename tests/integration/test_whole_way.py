"""From the command line to the ranks and back, with the real daemon and the real lead."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.core.events import LeadStarted
from headrace.core.process import marked
from headrace.core.rundir import RunDir, merged_events, read_events

HEADRACE = str(Path(sys.executable).with_name("headrace"))
EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "ddp_tutorial.py"


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

    def __call__(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            [HEADRACE, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout

    def status(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("status", run_id, "--json"))
        return found

    def daemon_pid(self) -> int:
        match = re.search(r"pid (\d+)", self("daemon", "status"))
        assert match is not None
        return int(match[1])

    def lead_pid(self, run_id: str) -> int:
        entries = merged_events(RunDir(self.runs / run_id))
        return [e.event.pid for _, e in entries if isinstance(e.event, LeadStarted)][-1]


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("s"))
    yield made
    for row in json.loads(made("ps", "--json", check=False) or "{}").get("runs", []):
        made("cancel", "--now", row["id"], check=False)
    made("daemon", "stop", check=False)


def until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.05)


def test_a_plain_ddp_script_ends_with_the_loss_it_has_under_torchrun(site: Site) -> None:
    program = [str(EXAMPLE), "--epochs", "2"]
    weights = site.runs.parent / "weights.pt"
    program += ["--checkpoint", str(weights)]
    words = ("run", "--nodes", "2", "--ranks-per-node", "1", "--wait", "--name", "plain")
    run_id = site(*words, "--", sys.executable, *program).strip()
    weights.unlink(missing_ok=True)
    ours = re.findall(r"final loss \S+", site("logs", run_id))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    theirs = subprocess.run(
        [*torchrun, "--nproc-per-node", "2", *program],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert len(ours) == 1
    assert ours == re.findall(r"final loss \S+", theirs.stdout)


def test_a_run_outlives_a_killed_daemon_and_the_next_command_finds_it(site: Site) -> None:
    run_id = site("run", "--name", "long", "--", "sleep", "4").strip()
    until(lambda: site.status(run_id)["state"] == "RUNNING")
    os.kill(site.daemon_pid(), signal.SIGKILL)
    assert site.status(run_id)["state"] == "RUNNING"
    site("wait", run_id)
    assert site.status(run_id)["state"] == "COMPLETED"
    for path in (site.runs / run_id / "events").glob("*.jsonl"):
        numbers = [entry.seq for entry in read_events(path)]
        assert numbers == list(range(len(numbers)))


def test_after_kill_of_the_lead_the_run_starts_again_and_nothing_of_before_is_left(
    site: Site,
) -> None:
    run_id = site("run", "--name", "lead", "--", "sleep", "600").strip()
    folder = str(site.runs / run_id)
    until(lambda: any("sleep" in _command(pid) for pid in marked("HEADRACE_RUN_DIR", folder)))
    before = set(marked("HEADRACE_RUN_DIR", folder))
    first = site.lead_pid(run_id)
    os.kill(first, signal.SIGKILL)
    until(lambda: site.lead_pid(run_id) != first, timeout_s=15.0)
    assert not before & set(marked("HEADRACE_RUN_DIR", folder))
    site("cancel", run_id)
    until(lambda: site.status(run_id)["state"] == "CANCELLED")
    until(lambda: marked("HEADRACE_RUN_DIR", folder) == [])


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_queued_runs_never_share_a_core_and_start_by_priority_then_age(site: Site) -> None:
    (site.runs.parent / "config" / "headrace").mkdir(parents=True)
    (site.runs.parent / "config" / "headrace" / "site.toml").write_text("[local]\ncpus = 1\n")
    blocker = site("run", "--name", "first", "--", "sleep", "3").strip()
    low = [site("run", "--name", "low", "--", "date", "+%s.%N").strip() for _ in range(3)]
    high = site("run", "--name", "high", "--priority", "5", "--", "date", "+%s.%N").strip()
    site("wait", blocker, high, *low)
    times = {run_id: float(site("logs", run_id)) for run_id in (high, *low)}
    assert sorted(times, key=lambda run_id: times[run_id]) == [high, *low]


def test_a_broken_job_file_is_three_lines_exit_2_and_queues_nothing(site: Site) -> None:
    path = site.runs.parent / "job.yaml"
    path.write_text('name: x\nrun: echo\nnodes: "8-2"\n')
    done = subprocess.run(
        [HEADRACE, "run", str(path)],
        env=site.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 3, done.stderr
    assert ":3: nodes:" in lines[0]
    assert done.stdout == ""
    assert not site.runs.exists() or list(site.runs.iterdir()) == []
