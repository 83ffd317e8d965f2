"""Overhead of a Python call as a run, beside submitit 1.5.4 with the same program, in one run.

On this machine (submitit's LocalExecutor), and on a virtual Slurm cluster of 2 nodes where root and
Slurm's packages allow one. The function does nothing, so all time is overhead: of one call from
``submit`` to its result (median), and of an array, a call. Then what 1,000 futures that wait cost
the process that waits for them.

    python benchmarks/races/executor.py [--calls 50] [--cluster FOLDER]

``--cluster``: of a virtual cluster that is up already. submitit is installed in an environment of
its own. Its local executor starts all calls at once; ours queues them on the machine's CPUs.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace import Executor
from headrace.cluster.bringup.packages import missing

PEER = "submitit==1.5.4"
SOURCE = Path(__file__).parent.parent.parent / "src"
NODES, FUTURES, WATCHED_S = 2, 1000, 60.0

PROGRAM = """
import importlib, json, statistics, sys, time
module, cluster, folder, calls = sys.argv[1:]
began_s = time.perf_counter()
executor = importlib.import_module(module).AutoExecutor(folder=folder, cluster=cluster)
executor.update_parameters(timeout_min=10, cpus_per_task=1, mem_gb=0.2, name="race")
def nothing(n):
    return n
def one():
    began_s = time.perf_counter()
    assert executor.submit(nothing, 1).result() == 1
    return time.perf_counter() - began_s
one()
one_s = statistics.median(one() for _ in range(5))
began_s = time.perf_counter()
jobs = executor.map_array(nothing, range(int(calls)))
submitted_s = time.perf_counter() - began_s
assert [job.result() for job in jobs] == list(range(int(calls)))
all_s = time.perf_counter() - began_s
chunks_s = 0.0
if module == "headrace":
    began_s = time.perf_counter()
    assert len(list(executor.map(nothing, range(int(calls)), chunksize=10))) == int(calls)
    chunks_s = time.perf_counter() - began_s
print(json.dumps({"one_s": one_s, "submit_s": submitted_s / int(calls),
                  "each_s": all_s / int(calls), "chunks_s": chunks_s / int(calls)}))
"""


def peer_python() -> Path:
    """submitit's own interpreter, installed the first time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "headrace" / "peers" / "submitit"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PEER], check=True)
        (folder / "ready").touch()
    return python


def measured(
    python: Path, module: str, cluster: str, folder: Path, calls: int, environ: dict[str, str]
) -> dict[str, float]:
    program = folder / "race.py"
    program.write_text(PROGRAM)
    argv: list[str | Path] = [
        python,
        program,
        module,
        cluster,
        folder / f"{module}-{cluster}",
        str(calls),
    ]
    done = subprocess.run(
        argv, env=environ, stdout=subprocess.PIPE, text=True, check=True, timeout=900, cwd=folder
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@contextmanager
def slurm(given: Path | None, folder: Path) -> Iterator[Path | None]:
    """The folder of a virtual cluster; None where there can be none."""
    lacking = missing()
    if given is not None or lacking or os.geteuid() != 0:
        yield given
        return
    environ = os.environ | {"HEADRACE_CLUSTER": str(folder / "c")}
    command = (sys.executable, "-m", "headrace.cli.main", "cluster")

    def call(*words: str) -> None:
        argv = (*command, *words)
        subprocess.run(argv, env=environ, check=True, stdout=subprocess.DEVNULL, timeout=300)

    try:
        call("up", "--virtual", str(NODES))
        yield folder / "c"
    finally:
        call("down")


def watching(environ: dict[str, str], engine: str) -> None:
    """CPU of this process while so many futures wait and none is done."""
    executor = Executor(environ=environ, engine=engine, name="waits", time="20m", memory="200M")
    jobs = executor.map_array(lambda _: time.sleep(WATCHED_S * 10), range(FUTURES))
    time.sleep(5.0)
    watch = executor._watch
    spent_s, looks, asked = time.process_time(), watch.looks, questions(environ, engine)
    time.sleep(WATCHED_S)
    spent_s, looks = time.process_time() - spent_s, watch.looks - looks
    asked = questions(environ, engine) - asked
    executor.shutdown(wait=False, cancel_futures=True)
    print(
        f"{engine}, {len(jobs):,} futures that wait: 1 thread, {looks / WATCHED_S:.1f} looks a "
        f"second, {spent_s / WATCHED_S:.2%} of a CPU"
        + (f", squeue {asked} times in {WATCHED_S:.0f} s" if engine == "slurm" else "")
    )


def questions(environ: dict[str, str], engine: str) -> int:
    """How often slurmctld was asked for its queue."""
    if engine != "slurm":
        return 0
    done = subprocess.run(["sdiag"], env=environ, capture_output=True, text=True, check=True)
    return sum(map(int, re.findall(r"REQUEST_JOB_INFO \D.*count:(\d+)", done.stdout)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--cluster", type=Path)
    asked = parser.parse_args()
    peer = peer_python()
    with tempfile.TemporaryDirectory(prefix="hr-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        environ = {key: text for key, text in os.environ.items() if key != "HEADRACE_ENGINE"} | {
            "HEADRACE_RUNS": f"{folder}/runs",
            "XDG_STATE_HOME": f"{folder}/state",
            "XDG_CONFIG_HOME": f"{folder}/config",
            "XDG_RUNTIME_DIR": name,
            "PYTHONPATH": str(SOURCE),
        }
        with slurm(asked.cluster, folder) as cluster:
            if cluster is not None:
                environ["SLURM_CONF"] = str(cluster / "etc/slurm.conf")
            for place in ("local", *(["slurm"] if cluster else ())):
                race(place, peer, folder, asked.calls, environ)
                watching(environ, place)
            daemon = (sys.executable, "-m", "headrace.cli.main", "daemon", "stop")
            subprocess.run(daemon, env=environ, check=False, stdout=subprocess.DEVNULL)


def race(place: str, peer: Path, folder: Path, calls: int, environ: dict[str, str]) -> None:
    ours = measured(Path(sys.executable), "headrace", place, folder, calls, environ)
    theirs = measured(peer, "submitit", place, folder, calls, environ)
    print(f"{place}, {calls} calls{'':<30} headrace   submitit   ratio")
    for key, what in (
        ("one_s", "one call, to its result"),
        ("submit_s", "submitting an array, a call"),
        ("each_s", "an array to its last result, a call"),
    ):
        ratio = ours[key] / theirs[key]
        print(f"  {what:<42} {ours[key] * 1e3:6.0f} ms  {theirs[key] * 1e3:6.0f} ms   {ratio:.2f}")
    print(f"  {'the same with chunksize=10':<42} {ours['chunks_s'] * 1e3:6.0f} ms")


if __name__ == "__main__":
    main()
