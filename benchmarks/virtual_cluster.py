"""Seconds from nothing to the first job finished on a virtual Slurm cluster, and back to nothing.

Budget: 30 s for 4 nodes. Needs root and Slurm's packages; says so and stops where they are not.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from headrace.cluster.bringup.packages import missing

NODES, BUDGET_S = 4, 30.0


def main() -> None:
    lacking = missing()
    if os.geteuid() != 0 or lacking:
        print(f"virtual cluster: not measured: {', '.join(lacking) or 'not root'}")
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "c")
        environ = {
            **os.environ,
            "HEADRACE_CLUSTER": str(place),
            "SLURM_CONF": str(place / "etc/slurm.conf"),
        }

        def call(*words: str) -> None:
            subprocess.run(words, env=environ, check=True, timeout=300, stdout=subprocess.DEVNULL)

        cluster = (sys.executable, "-m", "headrace.cli.main", "cluster")
        started_s = time.monotonic()
        try:
            call(*cluster, "up", "--virtual", str(NODES))
            up_s = time.monotonic() - started_s
            call("srun", f"-N{NODES}", "hostname")
            first_s = time.monotonic() - started_s
        finally:
            call(*cluster, "down")
        down_s = time.monotonic() - started_s - first_s
    ratio = first_s / BUDGET_S
    print(f"{NODES} nodes: up {up_s:.1f} s, first job ended {first_s:.1f} s, down {down_s:.1f} s")
    print(f"{ratio:.2f} of the budget of {BUDGET_S:.0f} s")


if __name__ == "__main__":
    main()
