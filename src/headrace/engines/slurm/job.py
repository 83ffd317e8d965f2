"""What a batch script turns into: starts the run's lead, outlives it, and settles the job.

``python -m headrace.engines.slurm.job RUN_DIR``. Signals to the batch script (SIGTERM, SIGUSR2) are
handed to the lead. It is a process of its own so that a lead that is killed is not the end of the
run: whoever kills this one kills the job.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
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
_NOT_FOR_SRUN = frozenset(
    (
        *("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_NTASKS_PER_NODE", "SLURM_TASKS_PER_NODE"),
        *("SLURM_CPUS_PER_TASK", "SLURM_TRES_PER_TASK", "SRUN_CPUS_PER_TASK"),
    )
)
_WARNINGS = (signal.SIGTERM, signal.SIGUSR2)


def main(arguments: Sequence[str]) -> int:
    prick_up()
    run = RunDir(Path(arguments[0]))
    asked = require_submission(run)
    over = begin(run, asked, os.environ)
    if over is not None:
        return over
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
    return settle(run, asked, job_id_of(os.environ), os.environ)


def prick_up() -> None:
    """What came while Python loaded was ignored, for the script said so; from now on it waits until
    somebody can take it. Nobody whom we start inherits that a signal is ignored."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _WARNINGS)
    for number in _WARNINGS:
        signal.signal(number, signal.SIG_DFL)


def environment_of_lead(run: RunDir, environ: Mapping[str, str]) -> dict[str, str]:
    """Marked as the run's, without what srun would read about tasks: the lead says that itself,
    and from 23.11 on srun refuses SLURM_TRES_PER_TASK beside another number of CPUs."""
    kept = {name: value for name, value in environ.items() if name not in _NOT_FOR_SRUN}
    ours = {"HEADRACE_RUN_ID": run.run_id, "HEADRACE_RUN_DIR": str(run.root)}
    return kept | ours | {"SLURM_EXPORT_ENV": "ALL"}


def start_lead(run: RunDir) -> int:
    """Fork it off. Its name is on disk before it does anything."""
    pid = os.fork()
    if pid == 0:
        try:
            me = identify(os.getpid())
            assert me is not None
            write_record(lead_file(run), me)
            os.execve(LEAD[0], [*LEAD, str(run.root)], environment_of_lead(run, os.environ))
        finally:
            os._exit(1)
    return pid


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
