"""How many calls slurmctld gets from us, counted by itself, on a real cluster."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.virtual import Virtual

pytestmark = pytest.mark.slow
PROGRAM = Path(__file__).parents[2] / "benchmarks" / "slurm_calls.py"


def test_a_large_array_is_one_submission_and_many_commands_ask_less_than_once_in_5_s(
    cluster: Virtual,
) -> None:
    """2,000 elements with one command; then status, top and watch beside 200 runs."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--seconds", "60", "--json"],
        env=cluster.environ,
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["submitting"]["REQUEST_SUBMIT_BATCH_JOB"] == 1
    assert sum(found["submitting"].values()) <= 10
    assert found["commands"] >= 10
    assert found["watching"], "commands that ask nothing show nothing"
    assert found["every_s"] > 5.0
