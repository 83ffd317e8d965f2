"""How long the user waits: help, submission, first line of output; torchrun beside it.

Promises: ``headrace --help`` under 150 ms; ``headrace run`` back under 500 ms with the daemon up;
from submission to the first line of a 2-rank program that imports nothing, at most 0.3 of what
torchrun takes for the same program in the same run. Medians; losses are printed as they are.

Run: ``.venv/bin/python benchmarks/launch_latency.py``
"""

import compileall
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

BIN = Path(sys.executable).parent
SOURCE = Path(__file__).parent.parent / "src"
PROGRAM = "import os\nprint('hello', os.environ['RANK'], flush=True)\n"
REPEATS = 5


def median_s(measure: Callable[[], float], repeats: int = REPEATS) -> float:
    return statistics.median(measure() for _ in range(repeats))


def whole_s(argv: list[str], environment: dict[str, str]) -> float:
    """Seconds until the command has ended."""
    started_s = time.perf_counter()
    subprocess.run(argv, env=environment, check=True, capture_output=True)
    return time.perf_counter() - started_s


def first_line_s(argv: list[str], environment: dict[str, str]) -> float:
    """Seconds until the command's output holds the first line of a rank."""
    started_s = time.perf_counter()
    with subprocess.Popen(
        argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        seen = []
        for line in process.stdout:
            seen.append(line)
            if "hello" in line:
                elapsed_s = time.perf_counter() - started_s
                process.stdout.read()
                return elapsed_s
    raise SystemExit(f"{argv} printed no line: {''.join(seen)}")


def row(what: str, measured_s: float, promise_s: float) -> None:
    verdict = "kept" if measured_s <= promise_s else "BROKEN"
    print(
        f"{what:<52} {measured_s * 1000:7.0f} ms   promise {promise_s * 1000:5.0f} ms   {verdict}"
    )


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="hr-") as folder:
        program = Path(folder) / "program.py"
        program.write_text(PROGRAM)
        compileall.compile_dir(SOURCE, quiet=1)  # pip did it for torch when it was installed
        environment = os.environ | {
            "HEADRACE_RUNS": f"{folder}/runs",
            "XDG_STATE_HOME": f"{folder}/state",
            "XDG_RUNTIME_DIR": folder,
            "XDG_CONFIG_HOME": folder,
        }
        headrace = str(BIN / "headrace")
        run = [headrace, "run", "--nodes", "2", "--ranks-per-node", "1"]
        command = ["--", sys.executable, str(program)]
        torchrun = [str(BIN / "torchrun"), "--standalone", "--nproc-per-node", "2", str(program)]
        try:
            subprocess.run([headrace, "daemon", "start"], env=environment, check=True)
            help_s = median_s(lambda: whole_s([headrace, "--help"], environment))
            submit_s = median_s(lambda: _submit_s(run, command, headrace, environment))
            ours_s, theirs_s = [], []
            for _ in range(REPEATS):
                ours_s.append(first_line_s([*run, "--follow", *command], environment))
                theirs_s.append(first_line_s(torchrun, environment))
        finally:
            subprocess.run([headrace, "daemon", "stop"], env=environment, check=False)
    row("headrace --help", help_s, 0.150)
    row("headrace run, daemon up", submit_s, 0.500)
    ours, theirs = statistics.median(ours_s), statistics.median(theirs_s)
    print(f"{'submit to first line, 2 ranks: headrace':<52} {ours * 1000:7.0f} ms")
    print(f"{'start to first line, 2 ranks: torchrun':<52} {theirs * 1000:7.0f} ms")
    ratio = ours / theirs
    print(
        f"{'ratio':<52} {ratio:7.2f}      promise  0.30      {'kept' if ratio <= 0.3 else 'BROKEN'}"
    )


def _submit_s(
    run: list[str], command: list[str], headrace: str, environment: dict[str, str]
) -> float:
    started_s = time.perf_counter()
    done = subprocess.run(
        [*run, *command], env=environment, check=True, capture_output=True, text=True
    )
    elapsed_s = time.perf_counter() - started_s
    subprocess.run([headrace, "wait", done.stdout.strip()], env=environment, check=True)
    return elapsed_s


if __name__ == "__main__":
    main()
