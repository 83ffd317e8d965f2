"""Does the time that a site gives before it kills suffice for a checkpoint? Pure.

Before a preempted job is killed it has GraceTime (of its QOS under preempt/qos, else of its
partition; default 0) after the warning, then KillWait (default 30 s) between SIGTERM and SIGKILL.
The batch script hears of the preemption only with ``preempt_send_user_signal``; the steps get
SIGTERM at the start of the grace time in any case, and the agent in the step passes that on to the
lead. Sources: slurm.conf(5), sbatch(1) --signal.
"""

from headrace.core.records import Record
from headrace.core.units import format_duration
from headrace.engines.slurm.facts import Facts, QosFacts

_DEFAULT_QOS = "normal"
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


class Times(Record, frozen=True, kw_only=True):
    """Measured on earlier runs, the longest; None when they never were."""

    checkpoint_s: float | None = None
    step_s: float | None = None

    @property
    def needed_s(self) -> float | None:
        """To end the step, to save, and a minute."""
        if self.checkpoint_s is None:
            return None
        return self.checkpoint_s + (self.step_s or 0.0) + _SLACK_S


NEVER_MEASURED = Times()


def check(
    facts: Facts,
    partition: str | None,
    qos: str | None,
    *,
    times: Times = NEVER_MEASURED,
    asked_s: float | None,
    may_requeue: bool,
) -> Grace:
    """``asked_s``: the job's own ``checkpoint.grace``, which counts where nothing was measured."""
    grade = _qos(facts, qos)
    place = facts.partition(partition)
    by_qos = grade is not None and "preempt/qos" in facts.preempt_type
    if by_qos and grade is not None:
        grace_s, name = grade.grace_s, f"QOS {grade.name}"
    else:
        grace_s = 0.0 if place is None else place.grace_s
        name = "the default partition" if place is None else f"partition {place.name}"
    given_s = grace_s + facts.kill_wait_s
    measured_s = times.needed_s
    needed_s = (asked_s or 0.0) if measured_s is None else measured_s
    warnings = []
    if asked_s is not None and measured_s is not None and asked_s < measured_s - _SLACK_S:
        took = format_duration(round(measured_s - _SLACK_S))
        warnings.append(
            f"checkpoint.grace is {format_duration(round(asked_s))}, but earlier runs of this name "
            f"took {took} for a step and a checkpoint; {format_duration(round(measured_s))} is safe"
        )
    if is_preemptible(facts, partition, qos):
        mode = _mode(facts, partition, qos)
        if needed_s > given_s:
            how = "checkpoint.grace asks for" if measured_s is None else "earlier runs needed"
            warnings.append(
                f"{how} {format_duration(round(needed_s))} to save and leave, but under {name} a "
                f"preempted run is killed after {format_duration(round(given_s))} (GraceTime "
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


def is_preemptible(facts: Facts, partition: str | None, qos: str | None) -> bool:
    if facts.preempt_type in ("", "(null)", "preempt/none"):
        return False
    grade = _qos(facts, qos)
    if "preempt/qos" in facts.preempt_type and grade is not None:
        return any(grade.name in one.preempts for one in facts.qos)
    return _mode(facts, partition, qos) not in ("", "OFF")


def _qos(facts: Facts, name: str | None) -> QosFacts | None:
    """The one that is named; else what Slurm calls the default where nobody chose another."""
    return next((one for one in facts.qos if one.name == (name or _DEFAULT_QOS)), None)


def _mode(facts: Facts, partition: str | None, qos: str | None) -> str:
    """Under preempt/qos that of the QOS, else of the partition; the cluster's where they have none
    of their own."""
    place, grade = facts.partition(partition), _qos(facts, qos)
    if "partition_prio" in facts.preempt_type and place is not None:
        return place.preempt_mode
    if grade is not None and grade.preempt_mode != "CLUSTER":
        return grade.preempt_mode
    return facts.preempt_mode.upper().replace("GANG,", "").replace(",GANG", "")


def stop_grace_s(asked_s: float | None, given_s: float, times: Times = NEVER_MEASURED) -> float:
    """From "stop by T" to T: as asked, else what was measured or a minute, within what the site
    gives, less a little to leave in."""
    if asked_s is not None:
        return float(asked_s)
    return max(_FLOOR_S, min(times.needed_s or _SLACK_S, given_s - _FLOOR_S))


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
