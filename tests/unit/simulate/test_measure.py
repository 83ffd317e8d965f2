"""Measures against figures worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from tests.replays import cluster, job, replayed, trace

from headrace.schedule.cluster import Account, Cluster
from headrace.schedule.queue import After
from headrace.simulate.jobs import Jobs, Steps
from headrace.simulate.measure import Measures, due_shares, jain, measure
from headrace.simulate.replay import Hold, NodeEvent

LABS = (Account(name="lab1", shares=1), Account(name="lab2", shares=3))


@pytest.fixture(scope="module")
def four() -> Measures:
    """Two nodes of 4 GPUs. a holds both until 100; b and c wait for it; d is cancelled at 60."""
    made = trace(
        job("a", 0, 100, nodes=2, user="ada", account="lab1"),
        job("b", 10, 50, user="bob", account="lab2"),
        job("c", 20, 100, gpus=2, user="ada", account="lab1"),
        job("d", 30, 100, gpus=1, user="bob", account="lab2", cancelled_s=60),
    )
    return measure(replayed(made, [0, 100, 100, None]), cluster=cluster(accounts=LABS))


def test_waits_are_those_of_the_jobs_that_started(four: Measures) -> None:
    assert four.wait_s is not None
    assert (four.jobs, four.started, four.ended) == (4, 3, 3)
    assert four.wait_s.mean == pytest.approx(170 / 3)
    assert (four.wait_s.median, four.wait_s.p90, four.wait_s.max) == (80, 88, 90)


def test_a_job_cancelled_while_it_waited_is_counted_with_its_reason(four: Measures) -> None:
    assert four.never_started == {"cancelled while it waited": 1}


def test_slowdown_and_completion_reach_from_eligibility_to_the_end(four: Measures) -> None:
    assert four.slowdown is not None
    assert four.completion_s is not None
    assert four.slowdown.mean == pytest.approx((1 + 140 / 50 + 180 / 100) / 3)
    assert four.completion_s.mean == pytest.approx((100 + 140 + 180) / 3)


def test_use_is_of_the_makespan_and_of_its_middle(four: Measures) -> None:
    gpus = four.use
    assert (four.makespan_s, gpus.resource, gpus.count) == (200, "GPU", 8)
    assert gpus.allocated_h * 3600 == pytest.approx(800 + 200 + 200)
    assert gpus.share == pytest.approx(1200 / 1600)
    assert gpus.share_middle == pytest.approx((8 * 80 + 6 * 50 + 2 * 30) / (8 * 160))
    assert four.uses[1].allocated_h * 3600 == pytest.approx(2 * 100 + 50 + 100)


def test_fairness_is_over_users_and_shares_count_while_somebody_waits(four: Measures) -> None:
    assert four.jain == pytest.approx(0.9)
    assert [(one.account, one.used, one.due) for one in four.shares] == [
        ("lab1", 1.0, 0.25),
        ("lab2", 0.0, 0.75),
    ]
    assert four.share_error == pytest.approx(0.75)


def test_jobs_are_classed_by_powers_of_two(four: Measures) -> None:
    assert [(one.name, one.jobs) for one in four.by_size] == [
        ("1 GPU", 1),
        ("2 GPUs", 1),
        ("3-4 GPUs", 1),
        ("5-8 GPUs", 1),
    ]
    assert four.by_size[0].wait_s is None
    assert [(one.name, one.jobs, one.started) for one in four.by_user] == [
        ("ada", 2, 2),
        ("bob", 2, 1),
    ]
    assert four.by_partition == ()


def test_the_course_holds_the_queue_length_and_the_use(four: Measures) -> None:
    course = four.course
    assert sum(course.waiting) * course.step_s == pytest.approx(90 + 80 + 30, rel=1e-3)
    assert sum(course.used) * course.step_s * 8 == pytest.approx(1200, rel=1e-3)


def test_a_job_that_must_not_begin_earlier_waits_from_then_on() -> None:
    made = trace(job("a", 0, 10, begin_s=50.0), job("b", 0, 10))
    found = measure(replayed(made, [70, 5]), cluster=cluster())
    assert found.wait_s is not None
    assert found.wait_s.mean == (20 + 5) / 2


def test_a_job_that_runs_after_another_waits_from_that_ones_end() -> None:
    after = (After(run_id="a", condition="ok", state=None),)
    made = trace(job("a", 0, 100), job("b", 0, 10, after=after))
    found = measure(replayed(made, [0, 130]), cluster=cluster())
    assert found.wait_s is not None
    assert found.wait_s.max == 30


def test_nodes_that_are_down_offer_nothing() -> None:
    made = trace(job("a", 0, 200))
    downs = (NodeEvent(50, 1, False), NodeEvent(100, 1, True), NodeEvent(900, 1, False))
    found = measure(replayed(made, [0]), cluster=cluster(), failures=downs)
    assert found.use.available_h * 3600 == pytest.approx(8 * 200 - 4 * 50)
    assert found.use.share == pytest.approx(800 / 1400)


def test_what_is_done_again_is_lost() -> None:
    """90 s of work: 30 s, displaced, and from 100 on 10 s of restart and 60 s."""
    whole = replayed(trace(job("a", 0, 90)), [0])
    cut = replace(
        whole, end_s=[170], busy_s=[100], preempted=[1], cut=[Hold(0, 0, 30, 1)], slices=[1]
    )
    found = measure(cut, cluster=cluster())
    assert (found.preempted, found.makespan_s) == (1, 170)
    assert found.use.allocated_h * 3600 == pytest.approx(400)
    assert found.use.useful_h * 3600 == pytest.approx(360)
    assert found.use.lost_h * 3600 == pytest.approx(40)
    assert sum(found.course.waiting) * found.course.step_s == pytest.approx(70, rel=1e-3)


def test_an_empty_trace_has_measures_too() -> None:
    found = measure(replayed(trace(), []), cluster=cluster())
    assert (found.jobs, found.makespan_s, found.wait_s, found.jain) == (0, 0, None, None)


def test_jains_index_is_one_for_equals_and_one_nth_when_one_has_all() -> None:
    assert jain([3, 3, 3]) == pytest.approx(1)
    assert jain([5, 0, 0, 0]) == pytest.approx(1 / 4)


def test_shares_are_divided_among_siblings_level_by_level() -> None:
    due = due_shares(
        [
            Account(name="root"),
            Account(name="science", parent="root", shares=3),
            Account(name="art", parent="root", shares=1),
            Account(name="physics", parent="science", shares=2),
            Account(name="biology", parent="science", shares=1),
            Account(name="physics", parent="science", user="ada", shares=9),
        ]
    )
    assert due["art"] == pytest.approx(1 / 4)
    assert due["physics"] == pytest.approx(1 / 2)
    assert due["biology"] == pytest.approx(1 / 4)


def test_jobs_without_gpus_are_classed_by_their_cpus() -> None:
    made = trace(job("a", 0, 10, gpus=0, nodes=2), job("b", 0, 10, gpus=1), job("c", 0, 10, gpus=0))
    found = measure(replayed(made, [0, 0, 0]), cluster=cluster())
    assert [one.name for one in found.by_size] == ["1 CPU", "2 CPUs", "1 GPU"]


def test_a_cluster_with_few_gpus_is_measured_by_its_cpus() -> None:
    made = trace(job("a", 0, 10), job("b", 0, 10, gpus=0))
    mixed = Cluster(nodes=(*cluster(1).nodes, *cluster(3, gpus=0).nodes))
    found = measure(replayed(made, [0, 0]), cluster=mixed)
    assert [use.resource for use in found.uses] == ["CPU", "GPU"]
    assert found.by_size[0].hours * 3600 == pytest.approx(10)


def test_steps_integrate_between_changes_and_are_zero_before() -> None:
    steps = Steps(np.array([10.0, 20.0, 10.0]), np.array([2.0, -3.0, 1.0]))
    assert steps.area(np.array([0.0, 10.0, 15.0, 20.0, 99.0])).tolist() == [0, 0, 15, 30, 30]
    assert Jobs.of(trace()).run_s.tolist() == []
