"""A recorded workload: the jobs, what became of them in history, and the machine they ran on."""

from headrace.core.records import Record
from headrace.core.states import State
from headrace.schedule.cluster import Cluster
from headrace.schedule.queue import Queued


class TraceJob(Record, frozen=True, kw_only=True):
    """``job``: what the scheduler is told, and when (``job.submitted_s``).

    ``run_s``: how long it ran, or was found to run, once started. ``state``: how it ended; runs
    that failed or were cancelled held their nodes too. ``cancelled_s``: cancelled while it waited,
    at that time. ``start_s``, ``end_s``: in history, None where the trace does not say.
    ``allocated``: nodes in history, as the trace writes them.
    """

    job: Queued
    run_s: float
    state: State = State.COMPLETED
    cancelled_s: float | None = None
    start_s: float | None = None
    end_s: float | None = None
    allocated: str = ""


class Trace(Record, frozen=True, kw_only=True):
    """``jobs`` in order of submission. ``cluster``: None when the format does not describe one.

    ``notes``: what the reader had to assume, drop or repair, with counts, for people.
    """

    name: str
    jobs: tuple[TraceJob, ...]
    cluster: Cluster | None = None
    notes: tuple[str, ...] = ()
