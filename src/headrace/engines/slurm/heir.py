"""In the job, on each node of a run that may shrink: what an agent turns into without its lead.

Such a job keeps its other nodes when one dies (``--no-kill``), also that of the batch script and
the lead. Nobody would be left to queue it again, and it would hold its nodes until its time limit.
So those who have lost their lead stay, and ask Slurm about it.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from headrace.core.errors import HeadraceError
from headrace.core.rundir import RunDir
from headrace.core.states import State
from headrace.engines.slurm import commands
from headrace.engines.slurm.begin import job_id_of
from headrace.engines.slurm.call import call
from headrace.engines.slurm.folders import read_history, require_submission
from headrace.engines.slurm.rows import parse_fields
from headrace.engines.slurm.settle import is_theirs

_PAUSE_S = 5.0


def main(arguments: Sequence[str]) -> int:
    inherit(RunDir(Path(arguments[0])), os.environ)
    return 0


def inherit(run: RunDir, environ: Mapping[str, str]) -> None:
    """One after the other in the order of their nodes, so that most find it done."""
    time.sleep(_PAUSE_S * (1 + int(environ.get("SLURM_NODEID", "0"))))
    job_id = job_id_of(environ)
    while True:  # slurmctld may be away for hours, and takes a node down after SlurmdTimeout
        history = read_history(run, require_submission(run))
        if history.state is not State.RUNNING or history.lead_end is not None:
            return
        try:
            (job, *_) = parse_fields(call(commands.show_job(job_id)))
            if not is_theirs(job, environ):
                return
            (host, *_) = parse_fields(call(commands.show_nodes(job["BatchHost"])))
            if is_dead(host):
                call(commands.requeue(job_id))
                return
        except (HeadraceError, KeyError, ValueError):
            pass  # slurmctld may be on its way back
        time.sleep(_PAUSE_S)


def is_dead(node: Mapping[str, str]) -> bool:
    return node.get("State", "").startswith("DOWN")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
