"""A cgroup for each run, where the machine has version 2: nothing in it can leave or outlive it.

Needs no controller: only the kernel's ``cgroup.kill`` (cgroup-v2, Linux 5.14). Without it the run's
mark in the environment has to do, which a program can take off.
"""

import contextlib
import os
from pathlib import Path

from headrace.cluster.nodes.mounts import parse_mounts


class Groups:
    """``root``: the folder of our groups; None where there can be none."""

    def __init__(self, mounts_text: str, name: str) -> None:
        self.root: Path | None = None
        for mount in parse_mounts(mounts_text):
            if mount.fstype == "cgroup2":
                with contextlib.suppress(OSError):
                    root = Path(mount.path, name)
                    root.mkdir(exist_ok=True)
                    self.root = root if (root / "cgroup.kill").exists() else None

    def make(self, run_id: str) -> str | None:
        """The path of the run's group."""
        if self.root is None:
            return None
        folder = self.root / run_id
        folder.mkdir(exist_ok=True)
        return str(folder)

    def kill(self, run_id: str) -> list[int]:
        """Kill all that is in the run's group; return their pids."""
        if self.root is None:
            return []
        folder = self.root / run_id
        try:
            pids = [int(word) for word in (folder / "cgroup.procs").read_text().split()]
            (folder / "cgroup.kill").write_text("1")
        except FileNotFoundError:
            return []
        return pids

    def close(self) -> None:
        """Leave nothing behind when nothing runs."""
        if self.root is not None:
            with contextlib.suppress(OSError):
                os.rmdir(self.root)

    def remove(self, run_id: str) -> None:
        """Drop the group; one that is not empty yet stays for the run's next end."""
        if self.root is not None:
            with contextlib.suppress(OSError):
                os.rmdir(self.root / run_id)
