"""Each limit by itself: what it refuses, what it lets wait, and the sentence people read."""

import pytest

from headrace.core.records import replace
from headrace.schedule.cluster import Account, Cluster, Limits, Partition, Qos, Tres, Weights
from headrace.schedule.limits import Limiter
from headrace.schedule.queue import Queued
from headrace.schedule.reason import LimitHit, NotAllowed, sentence
from headrace.schedule.request import Request

GIB = 1 << 30
HOUR_S = 3600.0
NONE = Limits()


def site(
    *,
    lab1: Limits = NONE,
    ada: Limits = NONE,
    normal: Limits = NONE,
    **changes: object,
) -> Limiter:
    cluster = Cluster(
        nodes=(),
        accounts=(
            Account(name="science"),
            Account(name="lab1", parent="science", limits=lab1),
            Account(name="lab2", parent="science"),
            Account(name="lab1", user="ada", limits=ada),
            Account(name="lab1", user="bob"),
            Account(name="lab2", user="cyd"),
        ),
        qos=(Qos(name="normal", limits=normal), Qos(name="high")),
    )
    return Limiter(replace(cluster, **changes))


def run(user: str = "ada", *, gpus: int = 4, nodes: int = 1, **changes: object) -> Queued:
    request = Request(nodes_min=nodes, nodes_max=nodes, gpus_per_node=gpus, memory_bytes=GIB)
    account = "lab2" if user == "cyd" else "lab1"
    job = Queued(id="r", request=request, submitted_s=0.0, user=user, account=account)
    return replace(job, **changes)


def blocked(limiter: Limiter, job: Queued) -> str:
    hit = limiter.blocked(job, job.request.nodes_min)
    return "" if hit is None else sentence(hit)


def refusal(limiter: Limiter, job: Queued, count: int = 1) -> str:
    found = limiter.refusal(job, count)
    return "" if found is None else sentence(found)


def test_a_site_without_limits_lets_everything_start_and_counts_nothing() -> None:
    limiter = Limiter(Cluster(nodes=()))
    limiter.submit(run())
    limiter.start(run(), 1)
    assert not limiter.applies(run())
    assert (blocked(limiter, run()), refusal(limiter, run())) == ("", "")
    assert limiter.counts() == {}


def test_a_group_limit_counts_all_users_of_the_account() -> None:
    limiter = site(lab1=Limits(grp_tres=Tres(gpu=16)))
    for user in ("ada", "bob"):
        limiter.start(run(user, gpus=8), 1)
    assert limiter.blocked(run(), 1) == LimitHit(
        limit="GrpTRES", resource="gpu", owner="account lab1", allowed=16, used=16, needed=4
    )
    assert blocked(limiter, run()) == (
        "account lab1 is at its GrpTRES gpu limit: 16 of 16 in use, this run needs 4"
    )
    assert blocked(limiter, run(gpus=0)) == ""
    assert blocked(limiter, run("cyd")) == ""
    limiter.end(run("bob", gpus=8), 1)
    assert blocked(limiter, run()) == ""


def test_a_group_limit_holds_for_accounts_below() -> None:
    accounts = (
        Account(name="science", limits=Limits(grp_jobs=1)),
        Account(name="lab1", parent="science"),
        Account(name="lab1", user="ada"),
        Account(name="lab2", parent="science"),
        Account(name="lab2", user="cyd"),
    )
    limiter = site(accounts=accounts)
    limiter.start(run("cyd"), 1)
    assert blocked(limiter, run()) == (
        "account science is at its GrpJobs limit: 1 of 1 runs running"
    )


def test_the_width_that_is_asked_for_counts() -> None:
    limiter = site(lab1=Limits(grp_tres=Tres(node=3)))
    elastic = run(nodes=1)
    assert limiter.blocked(elastic, 3) is None
    assert limiter.blocked(elastic, 4) is not None


def test_max_jobs_is_inherited_and_counts_for_each_user() -> None:
    limiter = site(lab1=Limits(max_jobs=1))
    limiter.start(run("ada"), 1)
    assert blocked(limiter, run("bob")) == ""
    assert blocked(limiter, run("ada")) == (
        "user ada in account lab1 is at its MaxJobs limit: 1 of 1 runs running"
    )
    nearer = site(lab1=Limits(max_jobs=1), ada=Limits(max_jobs=2))
    nearer.start(run("ada"), 1)
    assert blocked(nearer, run("ada")) == ""


def test_a_limit_of_the_qos_stands_in_for_the_accounts() -> None:
    limiter = site(lab1=Limits(grp_tres=Tres(gpu=4, cpu=1)), normal=Limits(grp_tres=Tres(gpu=8)))
    limiter.start(run(gpus=6), 1)
    assert "account lab1 is at its GrpTRES cpu" in blocked(limiter, run(gpus=2))
    assert "QOS normal is at its GrpTRES gpu" in blocked(limiter, run(gpus=4))


def test_the_partitions_qos_comes_before_the_runs() -> None:
    part = Qos(name="part", limits=Limits(max_jobs_pu=1))
    limiter = site(
        qos=(Qos(name="normal", limits=Limits(max_jobs_pu=9, max_jobs_pa=9)), part),
        partitions=(Partition(name="debug", qos="part", default=True),),
    )
    limiter.start(run(), 1)
    assert blocked(limiter, run()) == (
        "user ada in QOS part is at its MaxJobsPerUser limit: 1 of 1 runs running"
    )
    assert blocked(limiter, run("bob")) == ""


def test_qos_limits_per_user_and_per_account_count_separately() -> None:
    limiter = site(normal=Limits(max_tres_pu=Tres(gpu=4), max_tres_pa=Tres(gpu=6)))
    limiter.start(run("ada"), 1)
    assert "user ada in QOS normal is at its MaxTRESPerUser gpu" in blocked(limiter, run(gpus=2))
    assert "account lab1 in QOS normal is at its MaxTRESPerAccount gpu" in blocked(
        limiter, run("bob")
    )
    assert blocked(limiter, run("ada", qos="high")) == ""


def test_a_run_larger_than_max_tres_is_refused() -> None:
    limiter = site(lab1=Limits(max_tres=Tres(memory=3 * GIB)))
    assert refusal(limiter, run(nodes=3)) == ""
    text = "MaxTRES memory of user ada in account lab1 is 3G, this run needs 4G"
    assert refusal(limiter, run(nodes=4)) == blocked(limiter, run(nodes=4)) == text


def test_a_run_longer_than_max_wall_is_refused() -> None:
    limiter = site(normal=Limits(max_wall_s=HOUR_S))
    assert refusal(limiter, run(limit_s=HOUR_S)) == ""
    assert refusal(limiter, run(limit_s=2 * HOUR_S)) == (
        "MaxWall of QOS normal is 1h, this run needs 2h"
    )


def test_a_run_that_names_no_time_gets_the_least_of_default_and_max_wall() -> None:
    limiter = site(
        normal=Limits(max_wall_s=HOUR_S),
        partitions=(Partition(name="p", default_time_s=2 * HOUR_S, max_time_s=9 * HOUR_S),),
    )
    assert limiter.limit_s(run(limit_s=5.0)) == 5.0
    assert limiter.limit_s(run(partitions=("p",))) == HOUR_S
    assert limiter.limit_s(run(partitions=("p",), qos="high")) == 2 * HOUR_S
    assert limiter.limit_s(run(qos="high")) is None


def test_max_submit_jobs_refuses_the_next_and_whole_arrays() -> None:
    limiter = site(normal=Limits(max_submit_jobs_pu=3))
    limiter.submit(run())
    limiter.submit(run())
    assert refusal(limiter, run()) == ""
    assert refusal(limiter, run(), count=2) == (
        "user ada in QOS normal is at its MaxSubmitJobsPerUser limit: "
        "2 of 3 runs queued or running, this adds 2"
    )
    limiter.remove(run())
    assert refusal(limiter, run(), count=2) == ""


def test_more_than_the_whole_group_may_use_waits_unless_the_qos_denies_it() -> None:
    group = Limits(grp_tres=Tres(gpu=2))
    text = "GrpTRES gpu of account lab1 is 2, this run needs 4"
    waits, denies = site(lab1=group), site(lab1=group, qos=(Qos(name="x", deny_on_limit=True),))
    assert (refusal(waits, run()), blocked(waits, run())) == ("", text)
    assert refusal(denies, run(qos="x")) == text


def test_minutes_run_out_and_come_back_as_they_fade() -> None:
    weights = Weights(half_life_s=HOUR_S)
    limiter = site(lab1=Limits(grp_tres_mins=Tres(gpu=60)), weights=weights)
    limiter.start(run(), 1)
    limiter.at(0.2 * HOUR_S)
    assert blocked(limiter, run()) == ""
    limiter.at(0.5 * HOUR_S)
    limiter.end(run(), 1)
    assert blocked(limiter, run()) == (
        "account lab1 has used up its GrpTRESMins gpu: 101 minutes of 60 minutes"
    )
    assert blocked(limiter, run(gpus=0)) == ""
    limiter.at(1.5 * HOUR_S)
    assert blocked(limiter, run()) == ""


def test_wall_time_is_kept_without_decay_and_times_the_usage_factor() -> None:
    qos = (Qos(name="normal", usage_factor=2.0),)
    limiter = site(lab1=Limits(grp_wall_s=HOUR_S), qos=qos, weights=Weights(half_life_s=0.0))
    limiter.charge(run(), 1, 0.0)
    limiter.charge(run(), 1, 0.4 * HOUR_S, ends=True)
    limiter.at(99 * HOUR_S)
    assert blocked(limiter, run()) == ""
    limiter.charge(run(), 1, 10 * HOUR_S)
    assert blocked(limiter, run()).startswith("account lab1 has used up its GrpWall")


def test_counting_anew_keeps_the_minutes_and_charges_nobody_twice() -> None:
    cluster = Cluster(
        nodes=(),
        accounts=(
            Account(name="lab1", limits=Limits(grp_jobs=1, grp_tres_mins=Tres(gpu=100))),
            Account(name="lab1", user="ada"),
        ),
        weights=Weights(half_life_s=0.0),
    )
    limiter = Limiter(cluster, charging=False)
    limiter.charge(run(), 1, 0.0)
    for minute in range(1, 10):
        limiter.at(minute * 60.0)
        limiter.reset()
        assert blocked(limiter, run()) == ""
        limiter.start(run(), 1)
        assert "GrpJobs" in blocked(limiter, run())
    limiter.charge(run(), 1, 25 * 60.0, ends=True)
    limiter.at(9999.0)
    limiter.reset()
    assert "used up its GrpTRESMins gpu: 100 minutes" in blocked(limiter, run())


@pytest.mark.parametrize(
    ("job", "text"),
    [
        (run(account="lab9"), "there is no account lab9; there is lab1"),
        (run(account="lab2"), "user ada may not use account lab2; there is lab1"),
        (run("eve", account=""), "user eve may not use any account"),
        (run(qos="gold"), "there is no QOS gold; there is high, normal"),
        (run(partitions=("tape",)), "there is no partition tape; there is small"),
        (run(limit_s=2 * HOUR_S), "MaxTime of partition small is 1h, this run needs 2h"),
        (run(nodes=3), "MaxNodes node of partition small is 2, this run needs 3"),
        (run("cyd"), "partition small is not for account lab2, only for lab1"),
        (run(qos="high"), "partition small is not for QOS high, only for normal"),
    ],
)
def test_names_and_partitions_that_are_not_for_this_run(job: Queued, text: str) -> None:
    small = Partition(
        name="small",
        default=True,
        max_time_s=HOUR_S,
        max_nodes=2,
        allow_accounts=("lab1",),
        allow_qos=("normal",),
    )
    assert refusal(site(partitions=(small,)), job) == text


def test_one_partition_that_takes_the_run_is_enough() -> None:
    partitions = (Partition(name="short", max_time_s=1.0), Partition(name="long"))
    limiter = site(partitions=partitions)
    assert refusal(limiter, run(limit_s=9.0, partitions=("short", "long"))) == ""
    assert refusal(limiter, run(limit_s=9.0, partitions=("short",))) != ""


def test_a_user_may_use_the_qos_of_the_association_only() -> None:
    accounts = (Account(name="lab1", qos=("normal",)), Account(name="lab1", user="ada"))
    found = site(accounts=accounts).refusal(run(qos="high"))
    assert found == NotAllowed(
        wanted="QOS high", by="user ada in account lab1", choices=("normal",)
    )


def test_normal_is_always_a_qos() -> None:
    assert refusal(site(qos=(Qos(name="gold"),)), run()) == ""


def test_billing_is_limited_by_the_partitions_weights() -> None:
    limiter = site(
        lab1=Limits(grp_tres=Tres(billing=50)),
        partitions=(Partition(name="p", default=True, billing=Tres(gpu=10.0)),),
    )
    assert blocked(limiter, run(gpus=5)) == ""
    assert blocked(limiter, run(gpus=6)) == (
        "GrpTRES billing of account lab1 is 50, this run needs 60"
    )
