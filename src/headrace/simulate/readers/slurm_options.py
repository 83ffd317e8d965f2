"""slurm.conf's global lines: Priority*, Scheduler* and Preempt*."""

from collections.abc import Mapping, Sequence

from headrace.schedule.cluster import NodeSpec, Tres, Weights
from headrace.schedule.slurm_scheduling import SlurmScheduling
from headrace.simulate.readers.remarks import Remarks, integer, number
from headrace.simulate.readers.slurm_words import time_s, tres_weights, truth

_MIB = 1 << 20
_MODELLED = (
    *("FAIR_TREE", "NO_FAIR_TREE", "SMALL_RELATIVE_TO_TIME", "MAX_TRES", "NO_NORMAL_TRES"),
    "CALCULATE_RUNNING",
)
_MULTIFACTOR = "priority/multifactor"


def weights(options: Mapping[str, str], nodes: Sequence[NodeSpec], remarks: Remarks) -> Weights:
    """``options`` by key in lower case. Raise ``BadField``."""
    kind = options.get("prioritytype", _MULTIFACTOR)
    if kind != _MULTIFACTOR:
        remarks.say(f"PriorityType is {kind}: jobs go first in, first out")
        return Weights()
    flags = {flag for flag in options.get("priorityflags", "").upper().split(",") if flag}
    for flag in sorted(flags.difference(_MODELLED)):
        remarks.say(f"PriorityFlags: {flag} is not modelled")
    if options.get("priorityusageresetperiod", "none").lower() != "none":
        remarks.say("PriorityUsageResetPeriod is not modelled; usage decays only")

    def weight(name: str) -> int:
        return integer(name, options.get(name.lower(), 0))

    def span_s(name: str, standard_s: float) -> float:
        text = options.get(name.lower())
        return standard_s if text is None else time_s(name, text) or 0.0

    standard = Weights()
    dampening = options.get("fairsharedampeningfactor", 1)
    return Weights(
        age=weight("PriorityWeightAge"),
        assoc=weight("PriorityWeightAssoc"),
        fairshare=weight("PriorityWeightFairshare"),
        job_size=weight("PriorityWeightJobSize"),
        partition=weight("PriorityWeightPartition"),
        qos=weight("PriorityWeightQOS"),
        tres=_tres_weights(options, nodes, remarks, raw="NO_NORMAL_TRES" in flags),
        max_age_s=span_s("PriorityMaxAge", standard.max_age_s),
        half_life_s=span_s("PriorityDecayHalfLife", standard.half_life_s),
        calc_period_s=span_s("PriorityCalcPeriod", standard.calc_period_s),
        favor_small=truth(options.get("priorityfavorsmall", "no")),
        small_relative_to_time="SMALL_RELATIVE_TO_TIME" in flags,
        fair_tree="NO_FAIR_TREE" not in flags,
        dampening=max(1, integer("FairShareDampeningFactor", dampening)),
        max_tres="MAX_TRES" in flags,
    )


def _tres_weights(
    options: Mapping[str, str], nodes: Sequence[NodeSpec], remarks: Remarks, *, raw: bool
) -> Tres:
    """Weights of shares of the machine. Raw ones, by the unit, times what the machine has."""
    text = options.get("priorityweighttres", "")
    given = tres_weights("PriorityWeightTRES", text, memory_unit=False)
    if not raw:
        return given
    remarks.say("NO_NORMAL_TRES: TRES weights were made to weights of shares of the whole machine")

    def scaled(weight: float | None, total: float) -> float | None:
        return None if weight is None else weight * total

    return Tres(
        cpu=scaled(given.cpu, sum(node.cpus for node in nodes)),
        gpu=scaled(given.gpu, sum(count for node in nodes for _, count in node.gpus)),
        node=scaled(given.node, len(nodes)),
        memory=scaled(given.memory, sum(node.memory_bytes for node in nodes) / _MIB),
    )


def scheduling(options: Mapping[str, str], remarks: Remarks) -> SlurmScheduling:
    """``options`` by key in lower case. Raise ``BadField``."""
    given = options.get("schedulerparameters", "").lower()
    parameters = dict(part.strip().partition("=")[::2] for part in given.split(","))
    standard = SlurmScheduling()

    def count(name: str, default: int) -> int:
        return integer(name, parameters.get(name, default))

    def span_s(name: str, standard_s: float, unit_s: float = 1.0) -> float:
        return number(name, parameters[name]) * unit_s if name in parameters else standard_s

    preempt_type = options.get("preempttype", "none").lower().rpartition("/")[2]
    if preempt_type == "partition_prio":
        remarks.say("preempt/partition_prio is not modelled; tiers only order the queue")
    modes = options.get("preemptmode", "off").lower().split(",")
    return SlurmScheduling(
        backfill=options.get("schedulertype", "sched/backfill").lower() == "sched/backfill",
        bf_window_s=span_s("bf_window", standard.bf_window_s, 60.0),
        bf_interval_s=span_s("bf_interval", standard.bf_interval_s),
        bf_resolution_s=span_s("bf_resolution", standard.bf_resolution_s),
        bf_max_job_test=count("bf_max_job_test", standard.bf_max_job_test),
        bf_max_job_user=count("bf_max_job_user", 0),
        bf_max_job_part=count("bf_max_job_part", 0),
        bf_continue="bf_continue" in parameters,
        bf_min_prio_reserve=count("bf_min_prio_reserve", 0),
        default_queue_depth=count("default_queue_depth", standard.default_queue_depth),
        sched_interval_s=span_s("sched_interval", standard.sched_interval_s),
        preempt_type=preempt_type,
        preempt_mode=next((mode for mode in modes if mode != "gang"), "off"),
        preempt_exempt_s=time_s("PreemptExemptTime", options.get("preemptexempttime", "0")) or 0.0,
    )
