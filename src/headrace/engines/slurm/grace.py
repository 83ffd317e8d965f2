"""Does the time that a site gives before it kills suffice for a checkpoint? Pure.

Before a preempted job is killed it has GraceTime (of its partition or QOS, default 0) after the
warning, then KillWait (default 30 s) between SIGTERM and SIGKILL. The batch script hears of the
preemption only with ``preempt_send_user_signal``; the steps get SIGTERM at the start of the grace
time in any case, and the agent in the step passes that on to the lead. Sources: slurm.conf(5),
sbatch(1) --signal.
"""

from headrace.core.records import Record
from headrace.core.units import format_duration
from headrace.engines.slurm.facts import Facts

_SLACK_S = 60.0
_FLOOR_S = 5.0
_MARGIN_S = 20.0
_SIGNAL_EARLY_S = 60.0
_SIGNAL_LEAST_S = 1
_MINUTE_S = 60


class Grace(Record, frozen=True, kw_only=True):
    """``given_s``: what a preempted run has from the warning to SIGKILL. ``needed_s``: to agree,
    save and leave. ``warnings``: what cannot hold, in words."""

    given_s: float
    needed_s: float
    warnings: tuple[str, ...] = ()


def check(
    facts: Facts,
    partition: str | None,
    *,
    checkpoint_s: float | None,
    step_s: float | None,
    asked_s: float | None,
    may_requeue: bool,
) -> Grace:
    """``checkpoint_s``, ``step_s``: as measured on earlier runs; None when they never were.

    ``asked_s``: the job's own ``checkpoint.grace``. The need is a checkpoint, a step and a minute.
    """
    place = facts.partition(partition)
    grace_s = 0.0 if place is None else place.grace_s
    given_s = grace_s + facts.kill_wait_s
    measured = checkpoint_s is not None
    needed_s = (checkpoint_s or 0.0) + (step_s or 0.0) + _SLACK_S if measured else asked_s or 0.0
    warnings = []
    name = "the default partition" if place is None else f"partition {place.name}"
    if is_preemptible(facts, partition):
        mode = _mode(facts, partition)
        if needed_s > given_s:
            how = "a checkpoint takes" if measured else "checkpoint.grace asks for"
            warnings.append(
                f"{how} {format_duration(round(needed_s))} in all, but {name} kills a preempted "
                f"run after {format_duration(round(given_s))} (GraceTime "
                f"{format_duration(round(grace_s))} and KillWait "
                f"{format_duration(round(facts.kill_wait_s))}): what came after the last "
                "checkpoint is lost"
            )
        if "CANCEL" in mode:
            warnings.append(f"{name} cancels what it preempts; the lead queues it again if it can")
        if not facts.send_user_signal and grace_s == 0:
            warnings.append(
                f"{name} gives no GraceTime and the site does not set preempt_send_user_signal: "
                "the first word of a preemption is the SIGTERM before the kill"
            )
        if may_requeue and not facts.job_requeue:
            warnings.append("JobRequeue is 0 here; the run asks for --requeue itself")
    return Grace(given_s=given_s, needed_s=needed_s, warnings=tuple(warnings))


def is_preemptible(facts: Facts, partition: str | None) -> bool:
    if facts.preempt_type in ("", "(null)", "preempt/none"):
        return False
    return _mode(facts, partition) not in ("", "OFF")


def _mode(facts: Facts, partition: str | None) -> str:
    """By QOS it is the cluster's mode that counts, by partition that of the partition."""
    place = facts.partition(partition)
    cluster = facts.preempt_mode.upper()
    if "partition_prio" in facts.preempt_type and place is not None:
        return place.preempt_mode
    return cluster.replace("GANG,", "").replace(",GANG", "")


def stop_grace_s(asked_s: float | None, given_s: float) -> float:
    """From "stop by T" to T: as asked, else what the site gives, less a little to leave in."""
    if asked_s is not None:
        return float(asked_s)
    return max(_FLOOR_S, min(_SLACK_S, given_s - _FLOOR_S))


def margin_s(limit_s: float) -> float:
    """What the lead keeps of the time limit for itself: to kill, to write, to queue again."""
    return min(_MARGIN_S, limit_s / 10)


def time_option(asked_s: float, max_time_s: float | None) -> str:
    """--time in Slurm's form: what was asked, the lead's margin, rounded up to minutes.

    It never goes over the partition's MaxTime because of that margin.
    """
    minutes = -(-(asked_s + margin_s(asked_s)) // _MINUTE_S)
    if max_time_s is not None and asked_s <= max_time_s:
        minutes = min(minutes, max_time_s // _MINUTE_S)
    whole = max(1, int(minutes))
    days, rest = divmod(whole, 24 * 60)
    hours, left = divmod(rest, 60)
    return f"{days}-{hours:02}:{left:02}:00" if days else f"{hours:02}:{left:02}:00"


def signal_option() -> str:
    """USR2 to the lead. The lead has a clock for the time limit, so the time before it is short:
    what matters is that ``preempt_send_user_signal`` sends it at once."""
    return f"B:USR2@{_SIGNAL_LEAST_S}"


def warning_window_s() -> float:
    """So long before the time limit the same signal may mean the limit: Slurm may be early."""
    return _SIGNAL_LEAST_S + _SIGNAL_EARLY_S
