"""The race of data loaders runs with what needs no installation: ours and the limit."""

import json
import subprocess
import sys
from pathlib import Path

RACE = Path(__file__).resolve().parents[2] / "benchmarks" / "races" / "data.py"


def test_the_race_of_loaders_compares_ours_with_the_limit_on_small_data(tmp_path: Path) -> None:
    argv = [sys.executable, str(RACE), "--quick", "--only", "limit,headrace", "--json"]
    done = subprocess.run(
        [*argv, "--folder", str(tmp_path)], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [(one["workload"], one["workers"]) for one in found["verdicts"]] == [
        ("tokens", 1),
        ("tokens", 2),
        ("blobs", 1),
        ("blobs", 2),
    ]
    assert all(one["share"] > 0 for one in found["verdicts"])
    assert len(found["measured"]) == 10
