"""A Slurm that is one program and a folder: for tests of what speaks to Slurm, without root.

``FakeSlurm(folder)`` puts sbatch, squeue, sacct, scontrol, scancel, srun, sinfo, sprio and
sacctmgr into ``folder/bin``; with that on the path, jobs really run, as processes of this machine,
on nodes that are names only. It is good for what Headrace asks of Slurm: text shapes of several
releases, arrays, dependencies, holds, requeues, signals, time limits, steps. It keeps no users
apart, weighs no priority (first come, first served), and confines nobody to CPUs.

The shapes of 22.05 were recorded from that release; those of later ones follow their manuals and
release notes.
"""

import json
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

PROGRAMS = (
    *("sbatch", "squeue", "sacct", "scontrol", "scancel", "srun", "sinfo"),
    *("sprio", "sacctmgr"),
)
KILL_WAIT_S, REQUEUE_S = 2.0, 0.5
RELEASES = ("22.05.8", "23.11.10", "24.11.5", "25.05.3", "25.11.0")


class FakeSlurm:
    """``accounting``: whether sacct and sacctmgr answer. sprio does with multifactor alone.
    ``pyxis``: whether srun has its options."""

    def __init__(
        self,
        folder: Path,
        *,
        release: str = RELEASES[0],
        nodes: int = 2,
        cpus: int = 2,
        gpus: int = 0,
        max_array_size: int = 1001,
        accounting: bool = True,
        priority_type: str = "priority/multifactor",
        pyxis: bool = False,
    ) -> None:
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        site = {
            "release": release,
            "nodes": [f"n{number}" for number in range(1, nodes + 1)],
            "cpus": cpus,
            "gpus": gpus,
            "max_array_size": max_array_size,
            "accounting": accounting,
            "priority_type": priority_type,
            "pyxis": pyxis,
            "kill_wait_s": KILL_WAIT_S,
            "requeue_s": REQUEUE_S,
        }
        (folder / "site.json").write_text(json.dumps(site))
        (folder / "slurm.conf").write_text("ClusterName=fake\n")
        source = Path(__file__).parent.parent.parent
        for name in PROGRAMS:
            path = folder / "bin" / name
            words = f"{sys.executable} -S -m headrace.testing.fake_programs {folder} {name}"
            path.write_text(f'#!/bin/sh\nPYTHONPATH={source} exec {words} "$@"\n')
            path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)

    def environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """``environ`` with this cluster's programs on the path."""
        return dict(environ) | {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{environ['PATH']}",
            "SLURM_CONF": str(self.folder / "slurm.conf"),
        }

    def calls(self) -> list[list[str]]:
        """Every command line so far, in order."""
        lines = (self.folder / "calls.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]
