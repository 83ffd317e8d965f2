"""The promises of ``headrace.schedule``, for every cluster and queue that can be drawn."""

from collections import defaultdict
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.schedules import Job, check_nodes, clusters, jobs_for, play

from headrace.schedule.cluster import Cluster, Qos
from headrace.schedule.disciplines.conservative import Conservative
from headrace.schedule.disciplines.easy import Easy
from headrace.schedule.orders.las import LeastService
from headrace.schedule.policies import POLICIES, policy
from headrace.schedule.pool import nodes_of, slices_of
from headrace.schedule.scheduler import Scheduler
from headrace.schedule.sites import Sites
from headrace.schedule.state import Decided, Policy

SHORT = replace(policy("las"), order=partial(LeastService, thresholds=(50.0, 300.0)))
PROMOTING = replace(SHORT, order=partial(LeastService, thresholds=(50.0, 300.0), promote=1.0))
policies = st.sampled_from([*POLICIES.values(), SHORT, PROMOTING])
RIGID = st.sampled_from([one for one in POLICIES.values() if one.name != "las"])
FIXED = st.sampled_from([policy(name) for name in ("easy", "conservative", "fifo")])


@st.composite
def scenes(
    draw: st.DrawFn,
    *,
    reserved: bool = False,
    inside: bool = True,
    elastic: bool = False,
    qos: tuple[Qos, ...] = (),
) -> tuple[Cluster, list[Job]]:
    cluster = draw(clusters(reserved=reserved, qos=qos))
    return cluster, draw(jobs_for(cluster, elastic=elastic, inside=inside))


def could_ever(cluster: Cluster, job: Job) -> bool:
    """Whether it fits on the empty cluster."""
    scheduler = Scheduler(cluster, policy("easy"))
    demand = scheduler.demand(job.queued)
    return scheduler.pool.room(demand.shape, demand.allowed) >= job.queued.request.nodes_min


@given(scenes(reserved=True, elastic=True), policies, st.sampled_from((0.0, 30.0)))
def test_no_node_is_oversubscribed_and_every_gang_is_whole(
    scene: tuple[Cluster, list[Job]], chosen: Policy, stopping_s: float
) -> None:
    check_nodes(play(scene[0], chosen, scene[1], stopping_s=stopping_s))


@given(scenes(elastic=True), policies)
def test_whatever_fits_on_the_empty_cluster_runs_in_the_end(
    scene: tuple[Cluster, list[Job]], chosen: Policy
) -> None:
    played = play(scene[0], chosen, scene[1])
    assert played.done == {one.queued.id for one in scene[1] if could_ever(scene[0], one)}


@given(scenes(reserved=True, elastic=True), policies)
def test_the_same_queue_gives_the_same_schedule(
    scene: tuple[Cluster, list[Job]], chosen: Policy
) -> None:
    first, second = (play(scene[0], chosen, scene[1]) for _ in range(2))
    assert first.told == second.told


@given(scenes())
def test_without_backfill_runs_that_share_a_node_start_in_order(
    scene: tuple[Cluster, list[Job]],
) -> None:
    cluster, jobs = scene
    starts = play(cluster, policy("fifo"), jobs).starts()
    sites = Sites(cluster)
    order = sorted((one.queued for one in jobs), key=lambda one: one.submitted_s)
    for index, first in enumerate(order):
        for second in order[index + 1 :]:
            if first.submitted_s == second.submitted_s or first.id not in starts:
                continue
            if second.id in starts and sites.allowed(first) & sites.allowed(second):
                assert starts[first.id] <= starts[second.id]


@given(scenes(reserved=True, inside=False))
def test_easy_never_delays_the_head_beyond_its_first_shadow_time(
    scene: tuple[Cluster, list[Job]],
) -> None:
    promised: dict[str, float] = {}

    def watch(scheduler: Scheduler, now_s: float, decided: Decided) -> None:
        assert isinstance(scheduler.discipline, Easy)
        if scheduler.discipline.head is not None:
            promised.setdefault(scheduler.discipline.head.job.id, scheduler.discipline.shadow_s)

    starts = play(scene[0], policy("easy"), scene[1], watch).starts()
    for run, shadow_s in promised.items():
        assert starts[run] <= shadow_s


@given(scenes(reserved=True))
def test_conservative_never_starts_a_run_after_its_first_reservation(
    scene: tuple[Cluster, list[Job]],
) -> None:
    promised: dict[str, float] = {}

    def watch(scheduler: Scheduler, now_s: float, decided: Decided) -> None:
        assert isinstance(scheduler.discipline, Conservative)
        for waiting, booking in scheduler.discipline.booked.items():
            promised.setdefault(waiting.job.id, booking.start_s)

    starts = play(scene[0], policy("conservative"), scene[1], watch).starts()
    for run, start_s in promised.items():
        assert starts[run] <= start_s


@given(scenes(reserved=True, elastic=True), policies)
def test_nobody_else_holds_a_reserved_node_while_it_is_reserved(
    scene: tuple[Cluster, list[Job]], chosen: Policy
) -> None:
    cluster, jobs = scene
    sites = Sites(cluster)
    for one in play(cluster, chosen, jobs).stretches:
        for reservation in cluster.reservations:
            if one.job.reservation == reservation.name:
                assert one.job.user in reservation.users
                assert reservation.start_s <= one.start_s < reservation.end_s
                assert not nodes_of(one.grants) & ~sites.named(reservation.nodes)
            elif nodes_of(one.grants) & sites.named(reservation.nodes):
                assert one.end_s is not None
                assert one.end_s <= reservation.start_s or one.start_s >= reservation.end_s


TWO_QOS = (
    Qos(name="urgent", priority=2, preempts=("spot", "slow")),
    Qos(name="spot", priority=0, grace_s=20.0),
    Qos(name="slow", priority=1, exempt_s=50.0),
    Qos(name="normal", priority=1),
)


@given(scenes(qos=TWO_QOS), RIGID, st.sampled_from((0.0, 10.0)))
def test_preemption_stops_only_who_may_be_stopped_and_helps(
    scene: tuple[Cluster, list[Job]], chosen: Policy, stopping_s: float
) -> None:
    cluster, jobs = scene
    qos = {one.name: one for one in TWO_QOS}
    job_of = {one.queued.id: one.queued for one in jobs}

    def watch(scheduler: Scheduler, now_s: float, decided: Decided) -> None:
        stops = [stop for stop in decided.stops if stop.reason == "preempt"]
        for stop in stops:
            victim = scheduler.active[stop.run_id]
            assert victim.job.qos in qos[job_of[stop.by].qos].preempts
            assert now_s - victim.started_s >= qos[victim.job.qos].exempt_s
            assert stop.grace_s == qos[victim.job.qos].grace_s
        if len({stop.by for stop in stops}) == 1:
            check_each_victim_helps(scheduler, {stop.run_id for stop in stops}, now_s)

    played = play(cluster, chosen, jobs, watch, stopping_s=stopping_s)
    check_nodes(played)
    assert played.done == {one.queued.id for one in jobs if could_ever(cluster, one)}


def check_each_victim_helps(scheduler: Scheduler, victims: set[str], now_s: float) -> None:
    """Fewer of those who may displace others would start without it."""

    def starting(spared: str) -> list[str]:
        pool, found = scheduler.pool.copy(), []
        for active in scheduler.active.values():
            if active.stopping and active.job.id != spared:
                pool.give(active.grants)
        for waiting in scheduler.waiting:
            grants = scheduler.fit(waiting, scheduler.at(waiting, now_s), pool)
            if waiting.preempts and grants is not None:
                pool.take(grants)
                found.append(waiting.job.id)
        return found

    for victim in victims:
        assert starting(spared=victim) != starting(spared="")


@given(scenes(qos=TWO_QOS), RIGID)
def test_a_run_that_displaced_others_starts_when_they_are_gone(
    scene: tuple[Cluster, list[Job]], chosen: Policy
) -> None:
    played = play(scene[0], chosen, scene[1])
    starts = defaultdict(list)
    for one in played.stretches:
        starts[one.job.id].append(one.start_s)
    for now_s, decided in played.told:
        for stop in decided.stops:
            assert now_s in starts[stop.by]


@given(scenes(elastic=True), FIXED)
def test_elastic_runs_keep_their_width_in_bounds_and_lose_no_work(
    scene: tuple[Cluster, list[Job]], chosen: Policy
) -> None:
    cluster, jobs = scene
    played = play(cluster, chosen, jobs)
    work: defaultdict[str, float] = defaultdict(float)
    limited = set()
    for one in played.stretches:
        assert one.end_s is not None
        work[one.job.id] += (one.end_s - one.start_s) * slices_of(one.grants)
        if one.job.limit_s is not None and one.end_s - one.start_s >= one.job.limit_s - 1e-6:
            limited.add(one.job.id)
    for job in jobs:
        run = job.queued.id
        if run in played.done and run not in limited:
            assert work[run] == pytest.approx(job.run_s * job.queued.request.nodes_max)


@given(scenes(), st.sampled_from((SHORT, PROMOTING)))
def test_least_service_stops_only_those_of_lower_queues_for_those_it_starts(
    scene: tuple[Cluster, list[Job]], chosen: Policy
) -> None:
    cluster, jobs = scene

    def watch(scheduler: Scheduler, now_s: float, decided: Decided) -> None:
        assert isinstance(scheduler.order, LeastService)
        for stop in decided.stops:
            assert scheduler.order.level(stop.by) < scheduler.order.level(stop.run_id)

    played = play(cluster, chosen, jobs, watch)
    check_nodes(played)
    for now_s, decided in played.told:
        begun = {one.job.id for one in played.stretches if one.start_s == now_s}
        assert {stop.by for stop in decided.stops} <= begun
    work: defaultdict[str, float] = defaultdict(float)
    for one in played.stretches:
        assert one.end_s is not None
        work[one.job.id] += one.end_s - one.start_s
    for job in jobs:
        if job.queued.id in played.done:
            assert work[job.queued.id] == pytest.approx(job.run_s)
