"""What a batch script turns into: starts the run's lead, outlives it, and settles the job.

``python -m headrace.engines.slurm.job RUN_DIR``. Signals to the batch script (SIGTERM, SIGUSR2) are
handed to the lead. It is a process of its own so that a lead that is killed is not the end of the
run: whoever kills this one kills the job.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from headrace.core.process import become_subreaper, identify
from headrace.core.records import write_record
from headrace.core.rundir import RunDir
from headrace.engines.local.lead import lead_file
from headrace.engines.slurm.begin import begin, job_id_of
from headrace.engines.slurm.folders import require_submission
from headrace.engines.slurm.settle import settle

LEAD = (sys.executable, "-m", "headrace.launch.lead")
_WARNINGS = (signal.SIGTERM, signal.SIGUSR2)


def main(arguments: Sequence[str]) -> int:
    run = RunDir(Path(arguments[0]))
    asked = require_submission(run)
    begin(run, asked, os.environ)
    become_subreaper()
    lead_pid = start_lead(run)

    def hand_on(number: int, _: FrameType | None) -> None:
        os.kill(lead_pid, number)

    for number in _WARNINGS:
        signal.signal(number, hand_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WARNINGS)
    os.waitpid(lead_pid, 0)
    for number in _WARNINGS:
        signal.signal(number, signal.SIG_IGN)
    return settle(run, asked, job_id_of(os.environ))


def start_lead(run: RunDir) -> int:
    """Fork it off. Its name is on disk before it does anything."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _WARNINGS)  # until somebody can take them
    pid = os.fork()
    if pid == 0:
        try:
            me = identify(os.getpid())
            assert me is not None
            write_record(lead_file(run), me)
            environment = {**os.environ, "SLURM_EXPORT_ENV": "ALL"}
            os.execve(LEAD[0], [*LEAD, str(run.root)], environment)
        finally:
            os._exit(1)
    return pid


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
