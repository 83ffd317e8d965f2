"""What is told of the queue, and of others' runs in it."""

from headrace.engines.contract import Caller
from headrace.engines.local.snapshot import Snapshot
from headrace.schedule.cluster import Cluster, NodeSpec
from headrace.schedule.forecast import Unlimited
from headrace.schedule.policies import policy
from headrace.schedule.queue import Queued
from headrace.schedule.reason import Resources
from headrace.schedule.request import Request
from headrace.schedule.scheduler import Scheduler

ADA, BOB = Caller(uid=1, name="ada"), Caller(uid=2, name="bob")
ADMIN = Caller(uid=0, name="root", admin=True)


def snapshot() -> Snapshot:
    """Ada's run holds the only node, hers and Bob's wait."""
    scheduler = Scheduler(Cluster(nodes=(NodeSpec(name="n0", cpus=1),)), policy("easy"))
    for number, (name, user) in enumerate((("secret-1", "ada"), ("plan-2", "ada"), ("b-3", "bob"))):
        job = Queued(id=name, request=Request(), submitted_s=float(number), user=user)
        scheduler.submit(job, 5.0)
    scheduler.decide(5.0)
    return Snapshot(scheduler, 5.0, {"secret-1": 1, "plan-2": 1, "b-3": 2})


def test_names_of_others_runs_are_only_told_as_numbers() -> None:
    found = snapshot().explain("b-3", who=BOB, sooner=True)
    assert found.run == "b-3"
    assert found.standing is not None
    assert found.standing.before == ("2",)
    (short,) = [one.short[0] for one in found.reasons if isinstance(one, Resources)]
    assert [holder.run for holder in short.holders] == ["1"]
    assert found.forecast.unknown == Unlimited(runs=("1",))
    assert [row.run for row in snapshot().ranking(who=BOB)] == ["2", "b-3"]


def test_ones_own_runs_and_all_runs_to_an_admin_have_their_names() -> None:
    assert [row.run for row in snapshot().ranking(who=ADA)] == ["plan-2", "3"]
    assert [row.run for row in snapshot().ranking(who=ADMIN)] == ["plan-2", "b-3"]
    found = snapshot().explain("b-3", who=ADMIN, sooner=False)
    assert found.standing is not None
    assert found.standing.before == ("plan-2",)
    assert found.sooner == ()
