"""Fair share as an order of the scheduler: two labs with shares 1 and 3 fill one node for a day."""

import pytest

from headrace.schedule.cluster import Account, Cluster, NodeSpec, Weights
from headrace.schedule.disciplines.easy import Easy
from headrace.schedule.ledger import Ledger
from headrace.schedule.orders.multifactor import FairShare
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request
from headrace.schedule.scheduler import Scheduler
from headrace.schedule.state import Policy

USERS = {"ada": "one", "bob": "three"}
CLUSTER = Cluster(
    nodes=(NodeSpec(name="n0", cpus=1),),
    accounts=(
        Account(name="one", shares=1),
        Account(name="three", shares=3),
        *(Account(name=account, user=user) for user, account in USERS.items()),
    ),
    weights=Weights(fairshare=1000, calc_period_s=60.0, half_life_s=86_400.0),
)


def job(number: int, user: str) -> Queued:
    return Queued(
        id=f"{user}-{number}",
        request=Request(),
        submitted_s=0.0,
        limit_s=600.0,
        user=user,
        account=USERS[user],
    )


def run_all(scheduler: Scheduler, steps: int) -> list[str]:
    """Whose run started in each step of ten minutes."""
    for number in range(steps):
        for user in USERS:
            scheduler.submit(job(number, user), 0.0)
    started = []
    for step in range(steps):
        (start,) = scheduler.decide(600.0 * step).starts
        started.append(start.job.user)
        scheduler.end(start.job.id, 600.0 * (step + 1))
    return started


def test_runs_start_in_proportion_to_shares_whoever_submitted_first() -> None:
    started = run_all(Scheduler(CLUSTER, Policy("fair", FairShare, Easy)), 144)
    assert started.count("bob") == pytest.approx(108, abs=3)


def test_what_was_used_before_counts() -> None:
    past = Ledger(CLUSTER.weights.half_life_s)
    past.put(0.0, "three", "bob", 30_000.0)
    policy = Policy("fair", lambda cluster: FairShare(cluster, past), Easy)
    assert set(run_all(Scheduler(CLUSTER, policy), 16)) == {"ada"}


def test_new_runs_get_a_priority_at_once_and_equal_ones_keep_their_order() -> None:
    scheduler = Scheduler(CLUSTER, Policy("fair", FairShare, Easy))
    scheduler.submit(job(0, "ada"), 0.0)
    scheduler.decide(0.0)
    scheduler.decide(60.0)
    for number in (1, 2):
        scheduler.submit(job(number, "ada"), 61.0)
        scheduler.submit(job(number, "bob"), 61.0)
    order = [one.job.id for one in scheduler.waiting]
    assert order == ["bob-1", "bob-2", "ada-1", "ada-2"]
    scheduler.reorder(62.0)
    assert [one.job.id for one in scheduler.waiting] == order
