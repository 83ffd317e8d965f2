import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_heals_a_killed_rank_and_ends_with_the_same_loss(tmp_path: Path) -> None:
    headrace = Path(sys.executable).with_name("headrace")
    argv = [str(headrace), "demo", "--folder", str(tmp_path / "demo"), "--steps", "60"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "was killed with SIGKILL" in done.stdout
    assert "2 attempts" in done.stdout
    assert "equal to the last bit, and below the entropy" in done.stdout
