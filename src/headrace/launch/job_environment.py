"""Where a function runs, asked from inside it: ``JobEnvironment()``, with submitit's names."""

import os
import socket
from pathlib import Path

from headrace.core.errors import UsageError
from headrace.core.order import Placement
from headrace.core.records import read_record
from headrace.core.rundir import RunDir


class NotInARun(UsageError):
    """``JobEnvironment`` was asked for outside a run."""

    code = "HR-LAUNCH-002"

    def __init__(self) -> None:
        super().__init__(
            "this process is no rank of a run",
            why="JobEnvironment reads what ranks are told, and HEADRACE_RUN_ID is not set",
            remedy="call it inside the function that is submitted",
        )


class JobEnvironment:
    """Read once, when it is made. Raise ``NotInARun``."""

    def __init__(self) -> None:
        environ = os.environ
        if "HEADRACE_RUN_ID" not in environ:
            raise NotInARun
        self.job_id = environ["HEADRACE_RUN_ID"]
        self.run_dir = Path(environ["HEADRACE_RUN_DIR"])
        self.attempt = int(environ["HEADRACE_ATTEMPT"])
        self.hostname = socket.gethostname()
        self.num_nodes = int(environ["GROUP_WORLD_SIZE"])
        self.num_tasks = int(environ["WORLD_SIZE"])
        self.node = int(environ["GROUP_RANK"])
        self.global_rank = int(environ["RANK"])
        self.local_rank = int(environ["LOCAL_RANK"])
        self.array_task_id = environ.get("SLURM_ARRAY_TASK_ID")

    @property
    def hostnames(self) -> list[str]:
        """The nodes of the attempt, by node rank."""
        path = RunDir(self.run_dir).attempt(self.attempt) / "placement.json"
        return [placed.node for placed in read_record(path, Placement).nodes]

    def __repr__(self) -> str:
        return (
            f"JobEnvironment(job_id={self.job_id}, hostname={self.hostname}, "
            f"local_rank={self.local_rank}, node={self.node}({self.num_nodes}), "
            f"global_rank={self.global_rank}({self.num_tasks}))"
        )
