"""How Slurm's two schedulers are set, from SchedulerType, SchedulerParameters and Preempt*."""

from headrace.core.records import Record


class SlurmScheduling(Record, frozen=True, kw_only=True):
    """Slurm's defaults. ``bf_max_job_*`` 0 is no such limit.

    ``preempt_type``: none, qos or partition_prio. ``preempt_mode``: off, requeue, cancel, suspend.
    """

    backfill: bool = True
    bf_window_s: float = 86_400.0
    bf_interval_s: float = 30.0
    bf_resolution_s: float = 60.0
    bf_max_job_test: int = 500
    bf_max_job_user: int = 0
    bf_max_job_part: int = 0
    bf_continue: bool = False
    bf_min_prio_reserve: int = 0
    default_queue_depth: int = 100
    sched_interval_s: float = 60.0
    preempt_type: str = "none"
    preempt_mode: str = "off"
    preempt_exempt_s: float = 0.0
