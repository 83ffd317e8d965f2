"""Each example runs as its first lines say."""

import os
import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def test_the_plain_ddp_example_runs_under_torchrun_and_saves(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
        *("--standalone", str(EXAMPLES / "ddp_tutorial.py")),
        *("--epochs", "2", "--checkpoint", str(weights)),
    ]
    done = subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    last = re.fullmatch(r"final loss (\d\.\d+)", done.stdout.splitlines()[-1])
    assert last is not None
    assert float(last[1]) < 0.1
    assert weights.stat().st_size > 0


def test_the_plain_ddp_example_knows_nothing_of_headrace() -> None:
    text = (EXAMPLES / "ddp_tutorial.py").read_text()
    assert "import headrace" not in text
    assert "from headrace" not in text
    assert len(text.splitlines()) < 80
