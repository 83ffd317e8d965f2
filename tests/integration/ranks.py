"""The ranks of one attempt, as an agent would start them but for the channel."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(
    program: Path,
    argv: Sequence[object],
    *,
    world: int,
    run_dir: Path,
    session: Mapping[str, object] | None = None,
) -> list[subprocess.Popen[str]]:
    port = str(free_port())
    base = os.environ | {
        "OMP_NUM_THREADS": "1",
        "HEADRACE_RUN_DIR": str(run_dir),
        "HEADRACE_SESSION": json.dumps(session or {}),
    }
    run_dir.mkdir(parents=True, exist_ok=True)
    processes = []
    for rank in range(world):
        place = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        processes.append(
            subprocess.Popen(
                [sys.executable, str(program), *map(str, argv)],
                env=base | place,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


def finish(processes: Sequence[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    """What each rank said; all must end well and warn of nothing."""
    said = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        warned = [line for line in err.splitlines() if not line.startswith("headrace: ")]
        assert warned == [], warned
        said.append(json.loads(out))
    return said
