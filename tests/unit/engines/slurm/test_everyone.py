"""The queue as squeue shows it: who is ahead of whom, and the guess for those that wait."""

from tests.unit.engines.slurm.clusters import facts, job, runs

from headrace.engines.slurm.everyone import before, delay_s, parse_everyone, same

QUEUE = """\
38|38|N/A|PENDING|ada|main|201500|2|2|2:01:00|2026-11-25T14:57:00|2026-11-25T16:58:00|\
2026-11-25T13:27:12||n[1,3]|lab1|normal|Priority
33|33|0-3%2|PENDING|ada|main,short|141500|2|2|UNLIMITED|N/A|N/A|2026-11-25T12:57:48||(null)|lab1|\
normal|BeginTime
34|34|N/A|RUNNING|bob|main|141250|1|2|10:00|2026-11-25T13:26:42|2026-11-25T13:36:42|\
2026-11-25T13:26:41|n1|(null)|lab1|normal|None
"""


def test_a_job_that_waits_has_the_place_that_slurm_means_it_to_have() -> None:
    waits, array, holds = parse_everyone(QUEUE)
    assert (waits.nodes, waits.limit_s, waits.in_line) == (("n1", "n3"), 7260.0, True)
    assert (array.elements, array.partitions) == ((0, 1, 2, 3), ("main", "short"))
    assert (array.limit_s, array.start_s, array.in_line) == (None, None, False)
    assert (holds.nodes, holds.waits) == (("n1",), False)
    assert same(array, "33", 2)
    assert not same(array, "33", 4)


def test_ahead_are_those_of_higher_priority_that_may_take_the_same_nodes() -> None:
    own = job(5)
    higher = job(6, priority=2000, partitions=("short",))
    others = [
        own,
        higher,
        job(4),
        job(7),
        job(8, priority=2000, partitions=("tiny",)),
        job(9, priority=0, reason="JobHeldUser"),
        job(10, priority=2000, reason="Dependency"),
        runs(1, "n1", until_s=60.0),
    ]
    assert before(own, others, facts()) == [higher, others[2]]


def test_slurms_guess_counts_waiting_jobs_of_the_partition_by_cpu_time() -> None:
    queue = [
        job(1, width=1, cpus=1, limit_s=3600.0),
        job(2, width=3, cpus=6, limit_s=3600.0, priority=999),
        job(3, partitions=("short",), limit_s=3600.0),
        runs(4, "n1", until_s=60.0),
    ]
    assert delay_s(queue, "main", 1000, facts()) == 20 * 60.0
    assert delay_s(queue, "main", 999, facts()) == 80 * 60.0
    assert delay_s(queue, "tiny", 1, facts()) == 0.0
