"""The checked contract: what a site gives before it kills, against what a checkpoint takes."""

from headrace.core.records import replace
from headrace.engines.slurm.facts import Facts, PartitionFacts, QosFacts
from headrace.engines.slurm.grace import Times, check, is_preemptible, stop_grace_s

FACTS = Facts(
    cluster="c",
    version="22.05.8",
    kill_wait_s=30.0,
    max_array_size=1001,
    job_requeue=True,
    preempt_type="preempt/qos",
    preempt_mode="REQUEUE",
    send_user_signal=True,
    accounting=True,
    proctrack="proctrack/cgroup",
    task_plugin="task/affinity,task/cgroup",
    default_memory=True,
    priority_type="priority/multifactor",
    partitions=(
        PartitionFacts(name="gpu", default=True, grace_s=120.0, preempt_mode="REQUEUE"),
        PartitionFacts(name="hard", preempt_mode="OFF"),
    ),
)


def took(checkpoint_s: float, step_s: float) -> Times:
    return Times(checkpoint_s=checkpoint_s, step_s=step_s)


def test_a_checkpoint_that_fits_in_grace_and_kill_wait_gives_no_warning() -> None:
    found = check(
        FACTS,
        "gpu",
        None,
        times=Times(checkpoint_s=80.0, step_s=2.0),
        asked_s=None,
        may_requeue=True,
    )
    assert (found.given_s, found.needed_s, found.warnings) == (150.0, 142.0, ())


def test_a_checkpoint_that_takes_longer_is_said_before_the_run_is_submitted() -> None:
    found = check(
        FACTS,
        "gpu",
        None,
        times=Times(checkpoint_s=200.0, step_s=5.0),
        asked_s=None,
        may_requeue=True,
    )
    assert found.warnings == (
        "earlier runs needed 4m25s to save and leave, but under partition gpu a preempted run is "
        "killed after 2m30s (GraceTime 2m and KillWait 30s): what came after the last checkpoint "
        "is lost",
    )


def test_a_site_that_preempts_nobody_needs_no_grace() -> None:
    quiet = replace(FACTS, preempt_type="preempt/none")
    found = check(
        quiet,
        "gpu",
        None,
        times=Times(checkpoint_s=900.0, step_s=5.0),
        asked_s=None,
        may_requeue=True,
    )
    assert found.warnings == ()


def test_preemption_by_partition_goes_by_the_partitions_own_mode() -> None:
    by_partition = replace(FACTS, preempt_type="preempt/partition_prio")
    assert is_preemptible(by_partition, "gpu", None)
    assert not is_preemptible(by_partition, "hard", None)


def test_a_site_that_gives_no_first_word_is_named() -> None:
    mute = replace(FACTS, send_user_signal=False)
    found = check(mute, "hard", None, asked_s=None, may_requeue=True)
    assert [text.split(":")[0] for text in found.warnings] == [
        "partition hard gives no GraceTime and the site does not set preempt_send_user_signal"
    ]


def test_the_lead_stops_a_little_before_the_site_kills() -> None:
    assert stop_grace_s(None, 30.0) == 25.0
    assert stop_grace_s(None, 3600.0) == 60.0
    assert stop_grace_s(300, 30.0) == 300.0


BY_QOS = replace(
    FACTS,
    preempt_type="preempt/qos",
    qos=(
        QosFacts(name="normal", grace_s=300.0, preempts=("low",)),
        QosFacts(name="low", grace_s=60.0, preempt_mode="CANCEL"),
        QosFacts(name="high", preempts=("normal", "low")),
    ),
)


def test_preemption_by_qos_goes_by_the_grace_and_the_mode_of_the_qos() -> None:
    long = Times(checkpoint_s=100.0)
    normal = check(BY_QOS, "gpu", None, times=long, asked_s=None, may_requeue=True)
    assert (normal.given_s, normal.warnings) == (330.0, ())
    low = check(BY_QOS, "gpu", "low", times=long, asked_s=None, may_requeue=True)
    assert low.given_s == 90.0
    assert "under QOS low a preempted run is killed after 1m30s" in low.warnings[0]
    assert low.warnings[1].startswith("QOS low cancels what it preempts")


def test_a_qos_that_no_other_preempts_is_safe() -> None:
    assert is_preemptible(BY_QOS, "gpu", "low")
    assert not is_preemptible(BY_QOS, "gpu", "high")


def test_a_grace_that_is_shorter_than_checkpoints_took_is_said() -> None:
    found = check(
        FACTS, "gpu", None, times=Times(checkpoint_s=80.0), asked_s=30.0, may_requeue=True
    )
    assert found.warnings == (
        "checkpoint.grace is 30s, but earlier runs of this name took 1m20s for a step and a "
        "checkpoint; 2m20s is safe",
    )


def test_what_was_measured_sets_when_the_lead_stops() -> None:
    assert stop_grace_s(None, 3600.0, Times(checkpoint_s=200.0, step_s=5.0)) == 265.0
