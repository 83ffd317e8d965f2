"""What Headrace costs slurmctld: a large array, and many commands beside many runs.

An array of 2,000 elements is submitted with one command and cancelled before any may start, since
one that starts asks about itself; then 200 runs wait or run for a minute while ``status``, ``top``
and ``watch`` are called without a pause. ``sdiag`` counts what came in; calls of Slurm's own
daemons, and of sdiag, are left out. Budget: one call in 5 s.

    python benchmarks/slurm_calls.py [--seconds 60] [--json]

Needs root and Slurm's packages, or a virtual cluster in HEADRACE_CLUSTER; says so and stops
where they are not.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.cluster.bringup.packages import missing

LARGE, MANY = 2_000, 200
BUDGET_S = 5.0
STILL_S = 15.0
OF_DAEMONS = (
    *("MESSAGE_", "REQUEST_STEP_COMPLETE", "REQUEST_COMPLETE_", "REQUEST_STATS_INFO"),
    "REQUEST_PERSIST_INIT",
)
PROGRAM = (sys.executable, "-m", "headrace.cli.main")
COUNT = re.compile(r"^\s+(\w+)\s+\(\s*\d+\) count:(\d+)", re.MULTILINE)


class Cluster:
    """The command line on a virtual cluster, with places of its own."""

    def __init__(self, place: Path, folder: Path) -> None:
        self.folder = folder
        self.environ = {
            **os.environ,
            "HEADRACE_CLUSTER": str(place),
            "HEADRACE_ENGINE": "slurm",
            "SLURM_CONF": str(place / "etc/slurm.conf"),
            "HEADRACE_RUNS": str(folder / "runs"),
            "XDG_STATE_HOME": str(folder / "state"),
        }

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            words,
            env=self.environ,
            check=False,
            timeout=600,
            capture_output=True,
            text=True,
            cwd="/tmp",
        )
        if done.returncode:
            sys.exit(f"{' '.join(words)}: {done.returncode}\n{done.stderr}")
        return done.stdout

    def headrace(self, *words: str) -> str:
        return self(*PROGRAM, *words)

    def calls(self) -> dict[str, int]:
        """Since the counts were last set to 0, without those of the daemons."""
        text = self("sdiag").partition("statistics by message type")[2].partition("by user")[0]
        found = {name: int(count) for name, count in COUNT.findall(text)}
        return {name: count for name, count in found.items() if not name.startswith(OF_DAEMONS)}


@contextmanager
def cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory() as folder:
        given = os.environ.get("HEADRACE_CLUSTER")
        if given and Path(given, "cluster.json").exists():
            yield Cluster(Path(given), Path(folder))
            return
        made = Cluster(Path(folder, "c"), Path(folder))
        try:
            made.headrace("cluster", "up", "--virtual", "2")
            yield made
        finally:
            made.headrace("cluster", "down")


def submit_many(made: Cluster) -> tuple[float, dict[str, int]]:
    """Seconds until the command is back, and what it asked."""
    job = made.folder / "later.yaml"
    job.write_text("command: ['true']\nslurm: {sbatch: {begin: now+1hour}}\n")
    made("sdiag", "--reset")
    begin_s = time.monotonic()
    run = made.headrace(
        *("run", str(job), "--name", "large", "--array", f"0-{LARGE - 1}", "--time", "5m"),
        *("--memory", "200M"),
    ).split()[0]
    took_s, calls = time.monotonic() - begin_s, made.calls()
    made.headrace("cancel", "--now", run)
    return took_s, calls


def watch_many(made: Cluster, seconds: float) -> tuple[int, float, dict[str, int]]:
    """Commands that were given, for how long, and what they asked."""
    run = made.headrace(
        *("run", "--name", "many", "--array", f"0-{MANY - 1}", "--time", "30m"),
        *("--memory", "200M", "--", "sleep", "1800"),
    ).split()[0]
    until_running(made)
    made("sdiag", "--reset")
    begin_s, given = time.monotonic(), 0
    while time.monotonic() - begin_s < seconds:
        made.headrace("status", f"{run}_{MANY - 1}")
        made.headrace("top", "--once")
        made.headrace("watch", "--once", f"{run}_0")
        given += 3
    took_s, calls = time.monotonic() - begin_s, made.calls()
    made.headrace("cancel", "--now", run)
    return given, took_s, calls


def until_running(made: Cluster) -> None:
    """Until the same jobs have been running for a while: a start has calls of its own."""
    deadline_s, before, since_s = time.monotonic() + 180, "", time.monotonic()
    while time.monotonic() < deadline_s:
        now = made("squeue", "--noheader", "--states=RUNNING,COMPLETING", "--format=%i %T")
        if now != before:
            before, since_s = now, time.monotonic()
        if "RUNNING" in now and "COMPLETING" not in now and time.monotonic() - since_s > STILL_S:
            return
        time.sleep(1)
    sys.exit("the runs do not come to rest")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    lacking = missing()
    if os.geteuid() != 0 or lacking:
        print(f"calls to slurmctld: not measured: {', '.join(lacking) or 'not root'}")
        return
    with cluster() as made:
        submit_s, submitting = submit_many(made)
        given, took_s, watching = watch_many(made, chosen.seconds)
    every_s = took_s / max(1, sum(watching.values()))
    if chosen.json:
        found = {"submit_s": submit_s, "submitting": submitting, "watching": watching}
        print(json.dumps({**found, "commands": given, "every_s": every_s}))
        return
    print(f"{LARGE:,} elements with one command: {submit_s:.1f} s")
    for name, count in sorted(submitting.items()):
        print(f"    {count:4}  {name}")
    print(f"{given} commands in {took_s:.0f} s beside {MANY} runs: one call in {every_s:.1f} s")
    for name, count in sorted(watching.items()):
        print(f"    {count:4}  {name}")
    print(f"{BUDGET_S / every_s:.2f} of the budget of one call in {BUDGET_S:.0f} s")


if __name__ == "__main__":
    main()
