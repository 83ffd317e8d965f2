"""What is put to sbatch --test-only, and what its answer is worth."""

from tests.unit.engines.slurm.clusters import NOW_S, facts, job, runs

from headrace.engines.slurm.everyone import Job
from headrace.engines.slurm.probes import (
    PROBES_MAX,
    Answer,
    Asked,
    candidates,
    options_of,
    parse_test,
    start_of,
    without_needless,
)
from headrace.schedule.change import Change
from headrace.schedule.explain import Sooner
from headrace.schedule.reason import LimitHit
from headrace.schedule.request import Request

HOUR_S = 3600.0


def asked(own: Job, *, fit: int = 0, **request: object) -> Asked:
    made = Request(nodes_min=own.width, nodes_max=own.width, **request)  # type: ignore[arg-type]
    return Asked(job=own, request=made, fit=fit, factors=None)


def test_an_answer_of_22_05_is_read_with_its_warnings() -> None:
    said = (
        "sbatch: Warning: can't run 1 processes on 4 nodes, setting nnodes to 1\n"
        "sbatch: Job 8 to start at 2026-11-25T12:40:25 using 1 processors on nodes n[1-2,5] "
        "in partition main\nsbatch:   Preempts: 1\n"
    )
    found = parse_test(said)
    assert found is not None
    assert (found.nodes, found.partition) == (("n1", "n2", "n5"), "main")
    assert parse_test("allocation failure: Invalid account") is None


def test_slurms_guess_for_the_run_itself_is_taken_off_its_answer() -> None:
    """The run waits for two nodes; Slurm adds its own CPU time to that of a shorter one."""
    own = job(5, width=2, cpus=2, reason="Resources")
    queue = [own, runs(1, "n1", until_s=HOUR_S), runs(2, "n2", until_s=HOUR_S)]
    guess_s = 4 * 60 // 6 * 60.0
    told = Answer(start_s=NOW_S + guess_s, nodes=("n3",), partition="main")
    found = start_of(told, Change(nodes=1), asked(own), queue, facts(), NOW_S)
    assert found == NOW_S


def test_a_hole_before_the_first_that_is_ahead_is_used_by_what_ends_in_it() -> None:
    head = job(3, priority=2000, width=3, cpus=6, start_s=NOW_S + HOUR_S, nodes=("n1", "n2", "n3"))
    own = job(5)
    queue = [head, own, runs(1, "n1", until_s=HOUR_S), runs(2, "n2", until_s=HOUR_S)]
    told = Answer(start_s=NOW_S + 80 * 60.0, nodes=("n3",), partition="main")
    short = start_of(told, Change(limit_s=1800.0), asked(own), queue, facts(), NOW_S)
    assert short == NOW_S
    long = start_of(told, Change(limit_s=2 * HOUR_S), asked(own), queue, facts(), NOW_S)
    assert long >= NOW_S + HOUR_S


def test_a_run_that_gives_up_its_place_lets_those_behind_it_pass() -> None:
    own = job(5, priority=2000, width=3, cpus=6, reason="Resources")
    behind = job(6, priority=2000, start_s=NOW_S + HOUR_S)
    queue = [own, behind, runs(1, "n1", until_s=HOUR_S), runs(2, "n2", until_s=HOUR_S)]
    told = Answer(start_s=NOW_S + 80 * 60.0, nodes=("n3",), partition="main")
    assert start_of(told, Change(nodes=1), asked(own), queue, facts(), NOW_S) > NOW_S


def test_other_partitions_a_hole_and_fewer_nodes_are_worth_asking_about() -> None:
    head = job(3, priority=2000, width=3, cpus=6, start_s=NOW_S + HOUR_S)
    own = job(5, width=2, cpus=2, limit_s=HOUR_S)
    queue = [head, own, runs(1, "n1", until_s=HOUR_S), runs(2, "n2", until_s=HOUR_S)]
    found = candidates(asked(own, fit=1), queue, facts(), (), NOW_S)
    assert found == [
        Change(nodes=1),
        Change(nodes=1, limit_s=2700.0),
        Change(partition="short", limit_s=600.0),
    ]
    alone = job(6, limit_s=300.0)
    others = candidates(asked(alone, fit=1), [head, alone], facts(), (), NOW_S)
    assert others[:2] == [Change(partition="short"), Change(partition="tiny")]
    assert len(others) <= PROBES_MAX


def test_a_run_over_a_limit_is_offered_the_nodes_that_the_limit_leaves() -> None:
    own = job(5, width=4, cpus=4)
    hit = LimitHit(limit="GrpTRES", resource="gpu", owner="a", allowed=16, used=10, needed=8)
    assert candidates(asked(own), [own], facts(), (hit,), NOW_S) == [Change(nodes=3)]
    jobs = LimitHit(limit="GrpJobs", resource="", owner="a", allowed=3, used=3, needed=1)
    assert candidates(asked(own), [own], facts(), (jobs,), NOW_S) == []


def test_the_question_is_the_run_as_slurm_has_it_with_the_change() -> None:
    own = job(5, width=2, partitions=("main", "tiny"), qos="high")
    given = [("nodes", "2"), ("time", "02:00:00"), ("exclusive", "")]
    words = options_of(Change(nodes=1, limit_s=1800.0), asked(own), given)
    assert words == [
        *("--nodes=1", "--time=30", "--exclusive"),
        *("--partition=main,tiny", "--account=lab1", "--qos=high"),
    ]


def test_giving_up_more_for_nothing_is_not_offered() -> None:
    less = Sooner(change=Change(nodes=1), start_s=NOW_S)
    more = Sooner(change=Change(nodes=1, limit_s=900.0), start_s=NOW_S + 1)
    gains = Sooner(change=Change(nodes=1, limit_s=600.0), start_s=NOW_S - 900)
    assert without_needless([less, more, gains]) == (less, gains)
