"""Opening a data set of 10 million samples: seconds and memory of a rank; aim 1 s and 100 MB.

The set is one file of 10 million JSON lines, indexed in place once (its time is printed, too). Each
of four ranks is a process of its own that opens it, then reads batches for five seconds; memory is
its resident set above that of a process that has only imported headrace.data.

    python benchmarks/data_open.py [FOLDER] [SAMPLES]
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from headrace import data

RANKS, AIM_S, AIM_MB = 4, 1.0, 100

PROGRAM = """
import json, resource, sys, time
from headrace import data
from headrace.data.formats import jsonl
def now():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024
import numpy as np
before = now()
start = time.perf_counter()
dataset = data.open(sys.argv[1])
opened = time.perf_counter() - start
start = time.perf_counter()
rank = int(sys.argv[2])
with data.batches(dataset, global_batch=256, seed=7, rank=rank, world=4) as batches:
    next(batches)
    first = time.perf_counter() - start
    at_first, seen = now(), 0
    while time.perf_counter() - start < 5:
        seen += len(next(batches).samples)
print(json.dumps([len(dataset), opened, first, before, at_first, now(), seen / 5]))
"""


def main(folder: Path, samples: int) -> None:
    path = folder / "rows.jsonl"
    if not path.exists():
        with path.open("w") as file:
            for number in range(samples):
                file.write(f'{{"n": {number}, "x": "{"x" * (number % 13)}"}}\n')
    start = time.perf_counter()
    summary = data.index_path(path)
    print(
        f"indexed {summary.samples:,} samples in {time.perf_counter() - start:.0f} s: "
        f"{summary.index_bytes / 1e6:.0f} MB, load {os.getloadavg()[0]:.1f}"
    )
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path), str(rank)], stdout=subprocess.PIPE
        )
        for rank in range(RANKS)
    ]
    for rank, process in enumerate(ranks):
        out, _ = process.communicate()
        length, opened, first, before, at_first, at_end, rate = json.loads(out)
        print(
            f"rank {rank}: {length:,} samples open in {opened:.3f} s, first batch after "
            f"{first:.3f} s (aim {AIM_S:.0f} s); {at_first - before:.0f} MB then, "
            f"{at_end - before:.0f} MB after 5 s (aim {AIM_MB} MB; the process alone is "
            f"{before:.0f} MB); {rate:,.0f} samples/s"
        )


if __name__ == "__main__":
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000_000
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]), count)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary), count)
