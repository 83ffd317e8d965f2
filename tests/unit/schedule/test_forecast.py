"""When runs start if nothing changes, and why nobody can say."""

from collections.abc import Sequence
from typing import Any

from headrace.core.states import State
from headrace.schedule.cluster import Cluster, NodeSpec, Qos
from headrace.schedule.forecast import Bound, Forecast, forecast, unknown_sentence
from headrace.schedule.policies import policy
from headrace.schedule.queue import After, Queued
from headrace.schedule.request import Request
from headrace.schedule.scheduler import Scheduler

HOUR_S = 3600.0


def job(
    name: str,
    nodes: int = 1,
    *,
    limit_s: float | None = HOUR_S,
    submitted_s: float = 0.0,
    **queued: Any,  # noqa: ANN401
) -> Queued:
    request = Request(nodes_min=nodes, nodes_max=nodes)
    return Queued(id=name, request=request, submitted_s=submitted_s, limit_s=limit_s, **queued)


def decided(jobs: Sequence[Queued], how: str = "easy", *, nodes: int = 2, **site: Any) -> Scheduler:  # noqa: ANN401
    specs = tuple(NodeSpec(name=f"n{number}", cpus=1) for number in range(nodes))
    scheduler = Scheduler(Cluster(nodes=specs, **site), policy(how))
    for one in jobs:
        scheduler.submit(one, 0.0)
    scheduler.decide(0.0)
    return scheduler


def why(found: Forecast, run_id: str) -> str:
    assert found.unknown is not None
    return unknown_sentence(run_id, found.unknown, lambda time_s: f"{time_s:.0f}")


def test_a_queue_starts_as_limits_pass_and_dependencies_complete() -> None:
    after = (After(run_id="c", condition="ok", state=State.PENDING),)
    scheduler = decided(
        [
            job("a"),
            job("b", 2),
            job("c", limit_s=600.0),
            job("d", after=after),
            job("e", limit_s=600.0, begin_s=9.0),
        ]
    )
    found = forecast(scheduler, 0.0)
    assert {run: one.start_s for run, one in found.items()} == {
        "b": HOUR_S,
        "d": 2 * HOUR_S,
        "e": 600.0,
    }
    assert found["b"].nodes == ("n0", "n1")


def test_the_scheduler_that_was_asked_stays_as_it_was() -> None:
    scheduler = decided([job("a", 2), job("b", 2), job("c")], "conservative")
    forecast(scheduler, 0.0)
    assert [one.job.id for one in scheduler.waiting] == ["b", "c"]
    assert list(scheduler.active) == ["a"]
    assert scheduler.pool.room(scheduler.waiting[0].demand.shape, 0b11) == 0


def test_a_start_that_depends_on_a_run_without_time_limit_names_that_run() -> None:
    after = (After(run_id="b", condition="ok", state=State.PENDING),)
    scheduler = decided([job("a", limit_s=None), job("b", 2), job("c", after=after)])
    found = forecast(scheduler, 0.0)
    assert why(found["b"], "b") == "it depends on a, which has no time limit"
    assert why(found["c"], "c") == "it depends on a, which has no time limit"


def test_a_start_that_depends_on_a_held_run_names_that_run() -> None:
    after = (After(run_id="a", condition="any", state=State.PENDING),)
    scheduler = decided([job("a", held=True), job("b", after=after)])
    found = forecast(scheduler, 0.0)
    assert why(found["a"], "a") == "it does not start as things are: held; it starts after release"
    assert why(found["b"], "b") == (
        "it depends on a, which does not start as things are: held; it starts after release"
    )


def test_a_run_that_waits_for_one_that_never_fits_is_told_so() -> None:
    after = (After(run_id="a", condition="any", state=State.PENDING),)
    scheduler = decided([job("a", 3), job("b", after=after)], "fifo")
    assert why(forecast(scheduler, 0.0, "b")["b"], "b") == (
        "it depends on a, which does not start as things are: it may use 2 CPUs, 0 GPUs and "
        "0.0 GiB memory on 2 nodes; 2 of the 3 fit even when all is empty"
    )


def test_a_condition_that_a_completed_run_cannot_meet_has_no_start() -> None:
    after = (After(run_id="a", condition="notok", state=State.RUNNING),)
    scheduler = decided([job("a"), job("b", after=after)])
    assert why(forecast(scheduler, 0.0, "b")["b"], "b") == (
        "it does not start as things are: a ended COMPLETED, and it was asked to run after notok: a"
    )


def test_a_bound_is_said_honestly() -> None:
    scheduler = decided([job(f"r{number}", 2) for number in range(9)])
    near = forecast(scheduler, 0.0, "r8", bound=Bound(passes=3))["r8"]
    assert why(near, "r8") == "later than 7200; not reckoned further"
    timed = forecast(scheduler, 0.0, "r8", bound=Bound(until_s=1.5 * HOUR_S))["r8"]
    assert why(timed, "r8") == "later than 3600; not reckoned further"


def test_a_displaced_run_comes_back_with_what_is_left_of_its_limit() -> None:
    qos = (Qos(name="normal", grace_s=60.0), Qos(name="urgent", priority=1, preempts=("normal",)))
    scheduler = decided([job("a", 2)], qos=qos)
    scheduler.submit(job("b", 2, limit_s=600.0, qos="urgent"), 100.0)
    scheduler.submit(job("c", 2, submitted_s=100.0), 100.0)
    scheduler.decide(100.0)
    found = forecast(scheduler, 100.0)
    assert found["b"].start_s == 160.0
    assert found["c"].start_s == 160.0 + 600.0 + HOUR_S - 160.0
