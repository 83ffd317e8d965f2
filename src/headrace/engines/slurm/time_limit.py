"""The time limit of a job, which ``scontrol update`` may put off while it waits or runs.

``python -m headrace.engines.slurm.time_limit JOB_ID LEAD_S`` asks slurmctld once, and prints until
when the lead may go on, in seconds since 1970: until ``LEAD_S`` before the job ends. It prints
nothing where Slurm gives no answer.
"""

import math
import sys
from collections.abc import Mapping, Sequence

from headrace.core.errors import HeadraceError
from headrace.engines.slurm import commands
from headrace.engines.slurm.call import call
from headrace.engines.slurm.grace import time_option
from headrace.engines.slurm.rows import parse_fields, parse_limit_s, parse_time_s

_TIMEOUT_S = 10.0


def asked_by(
    job_id: str, *, end_s: float | None, limit_s: float | None, now_s: float
) -> tuple[str, ...]:
    """The command, for a lead that is to be done in ``limit_s`` from now. ``end_s``: of its job.

    How long before the end of the job that is holds for another end, too. Pure.
    """
    if end_s is None or limit_s is None:
        return ()
    lead_s = max(0.0, end_s - now_s - limit_s)
    module = ("-m", "headrace.engines.slurm.time_limit")
    return (sys.executable, *module, job_id, f"{lead_s:.3f}")


def still_asked(asked_s: float | None, job: Mapping[str, str]) -> float | None:
    """What the job file asks for; None where its job has been given more since. Pure."""
    given = job.get("TimeLimit")
    if asked_s is None or given is None:
        return asked_s
    given_s = parse_limit_s(given) or math.inf
    return asked_s if given_s <= (parse_limit_s(time_option(asked_s, None)) or 0.0) else None


def limit_of(job: Mapping[str, str], lead_s: float) -> float | None:
    """``job``: scontrol's words. None where it has no end. Pure."""
    end_s = parse_time_s(job.get("EndTime", ""))
    return None if end_s is None else end_s - lead_s


def main(arguments: Sequence[str]) -> int:
    job_id, lead_s = arguments
    try:
        jobs = parse_fields(call(commands.show_job(job_id), timeout_s=_TIMEOUT_S))
    except HeadraceError:
        return 1
    limit_s = limit_of(jobs[0], float(lead_s)) if jobs else None
    if limit_s is not None:
        sys.stdout.write(f"{limit_s}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
