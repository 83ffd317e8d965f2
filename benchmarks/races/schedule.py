"""Jobs a second of a replay, beside AccaSim 1.1.3 on the same machine, in one run.

Both read the same SWF file, with one machine of as many processors, and simulate it under FIFO, SJF
and EASY backfill; the time is that of the simulation, reading included for AccaSim, which reads as
it goes. The mean wait of both stands beside it: a faster wrong answer is no answer. Our targets are
50,000 jobs/s for FIFO and 10,000 for EASY.

The waits agree but under EASY: AccaSim fills gaps without keeping the nodes it has reserved for the
head of the queue, so that its heads are delayed and its mean wait is lower. Ours meets Batsim's
published EASY schedule in every start time.

    python benchmarks/races/schedule.py [--peer-limit-s 120]

Traces come from ../shared (or HEADRACE_SHARED); without it, drawn ones take their place. AccaSim is
installed in a virtual environment of its own; its modules need names that Python 3.10 took away.
"""

import argparse
import json
import lzma
import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from datetime import datetime
from pathlib import Path

from headrace.schedule.policies import policy
from headrace.simulate.read import read_trace
from headrace.simulate.replay import replay
from headrace.simulate.trace import Trace

PEER = "accasim==1.1.3"
TRACES = (("hpc2n", "swf/hpc2n_seth_3188.swf.xz", 240), ("lublin", "swf/lublin_256.swf.xz", 256))
POLICIES = ("fifo", "sjf", "easy")
TARGETS = {"fifo": 50_000, "easy": 10_000}
ROUNDS = 5

SHIM = """
import collections, collections.abc, json, os, sys, time
for name in ("Mapping", "MutableMapping", "Sequence", "Iterable", "Callable"):
    setattr(collections, name, getattr(collections.abc, name))
from accasim.base.allocator_class import FirstFit
from accasim.base.scheduler_class import EASYBackfilling, FirstInFirstOut, ShortestJobFirst
from accasim.base.simulator_class import Simulator
workload, processors, name, folder = sys.argv[1:]
system = os.path.join(folder, "system.json")
with open(system, "w") as file:
    json.dump({"groups": {"g": {"core": int(processors), "mem": 10**12}}, "resources": {"g": 1},
               "equivalence": {"processor": {"core": 1}}, "start_time": 0}, file)
kind = {"fifo": FirstInFirstOut, "sjf": ShortestJobFirst, "easy": EASYBackfilling}[name]
simulator = Simulator(workload, system, kind(FirstFit()), statistics_output=False,
                      show_statistics=False, RESULTS_FOLDER_PATH=folder)
began_s = time.perf_counter()
simulator.start_simulation()
print(json.dumps({"spent_s": time.perf_counter() - began_s}))
"""


def peer_python() -> Path:
    """AccaSim's own interpreter, installed the first time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "headrace" / "peers" / "accasim"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        argv = [str(python), "-m", "pip", "install", "--quiet", PEER, "numpy<2"]
        subprocess.run(argv, check=True)
        (folder / "ready").touch()
    return python


def plain_swf(source: Path, target: Path, processors: int) -> None:
    """The same jobs with what AccaSim needs: memory of 1 and a requested time."""
    with lzma.open(source, "rt") as file, target.open("w") as out:
        out.write(f"; MaxProcs: {processors}\n")
        for line in file:
            fields = line.split()
            if line.startswith(";") or len(fields) < 18:
                continue
            if int(fields[7]) < 1:
                fields[7] = fields[4]
            if float(fields[3]) < 0:
                fields[3] = "0"
            if float(fields[8]) < 1:
                fields[8] = str(max(1, int(float(fields[3]))))
            fields[4] = fields[7]
            fields[6] = fields[9] = "1"
            out.write(" ".join(fields[:18]) + "\n")


def ours(trace: Trace, name: str) -> tuple[float, float]:
    """Seconds and mean wait, best of a few rounds: the machine may be busy."""
    best_s, result = float("inf"), None
    for _ in range(ROUNDS):
        began_s = time.perf_counter()
        result = replay(trace, policy(name))
        best_s = min(best_s, time.perf_counter() - began_s)
    assert result is not None
    waits = [
        start_s - one.job.submitted_s
        for one, start_s in zip(trace.jobs, result.start_s, strict=True)
        if start_s is not None
    ]
    assert len(waits) == len(trace.jobs), "every job started"
    return best_s, sum(waits) / len(waits)


def theirs(
    workload: Path, processors: int, name: str, limit_s: float
) -> tuple[float, float] | None:
    """The same of AccaSim; None when it takes longer than ``limit_s``."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [str(peer_python()), "-c", SHIM, str(workload), str(processors), name, folder]
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, check=True, timeout=limit_s, cwd=folder
            )
        except subprocess.TimeoutExpired:
            return None
        spent_s = float(json.loads(done.stdout.splitlines()[-1])["spent_s"])
        (schedule,) = Path(folder).glob("sched-*")
        found = [_wait_s(line) for line in schedule.read_text().splitlines()]
        waits = [wait_s for wait_s in found if wait_s is not None]
        return spent_s, sum(waits) / max(1, len(waits))


def _wait_s(line: str) -> float | None:
    """From the first moment in a line of AccaSim's schedule to the second: submission to start."""
    moments = re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", line)
    if len(moments) < 3:
        return None
    submitted, started = (datetime.fromisoformat(moment) for moment in moments[:2])
    return (started - submitted).total_seconds()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--peer-limit-s", type=float, default=120.0)
    limit_s = options.parse_args().peer_limit_s
    here = Path(__file__).resolve().parents[3]
    shared = Path(os.environ.get("HEADRACE_SHARED") or here / "shared") / "traces"
    if not shared.is_dir():
        sys.exit(f"no traces in {shared}: set HEADRACE_SHARED")
    print(f"{'trace':<8}{'policy':<7}{'jobs/s':>9}{'wait s':>12}  {'AccaSim':>8}{'wait s':>12}")
    for label, path, processors in TRACES:
        with tempfile.TemporaryDirectory() as folder:
            workload = Path(folder) / f"{label}.swf"
            plain_swf(shared / path, workload, processors)
            trace = read_trace(workload)
            for name in POLICIES:
                spent_s, wait_s = ours(trace, name)
                rate = len(trace.jobs) / spent_s
                row = f"{label:<8}{name:<7}{rate:>9,.0f}{wait_s:>12,.1f}  "
                peer = theirs(workload, processors, name, limit_s)
                if peer is None:
                    peer_rate = len(trace.jobs) / limit_s
                    row += f"{'<' + format(peer_rate, ',.0f'):>8}{'-':>12}  over {limit_s:.0f} s"
                else:
                    peer_rate = len(trace.jobs) / peer[0]
                    row += f"{peer_rate:>8,.0f}{peer[1]:>12,.1f}  {rate / peer_rate:,.0f} times"
                target = TARGETS.get(name)
                if target is not None:
                    row += f"; {rate / target:.2f} of the target of {target:,}"
                print(row, flush=True)


if __name__ == "__main__":
    main()
