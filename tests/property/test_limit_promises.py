"""Limits hold whatever starts and ends, and what has ended leaves nothing behind."""

from collections import Counter
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from headrace.core.records import replace
from headrace.schedule.cluster import Account, Cluster, Limits, Qos, Tres
from headrace.schedule.limits import Limiter
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request

few = st.none() | st.integers(0, 3)
some = st.none() | st.integers(0, 12)
LABS = {"lab1": "top", "lab2": "top", "lab3": "root"}
USERS = ("ada", "bob")
QOS = ("normal", "high")


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    """Accounts limit groups, QOS limit users and accounts: none stands in for another."""

    def group() -> Limits:
        return Limits(
            grp_jobs=draw(few),
            grp_submit_jobs=draw(some),
            grp_tres=Tres(gpu=draw(some), node=draw(some)),
            max_tres=Tres(cpu=draw(some)),
        )

    accounts = [Account(name="top", limits=group())]
    for lab, parent in LABS.items():
        accounts.append(Account(name=lab, parent=parent, limits=group()))
        accounts += [Account(name=lab, user=user, limits=group()) for user in USERS]
    qos = tuple(
        Qos(
            name=name,
            limits=Limits(
                max_jobs_pu=draw(few), max_jobs_pa=draw(few), max_tres_pu=Tres(gpu=draw(some))
            ),
        )
        for name in QOS
    )
    return Cluster(nodes=(), accounts=tuple(accounts), qos=qos)


jobs = st.builds(
    lambda user, lab, qos, gpus, cpus: Queued(
        id="",
        request=Request(nodes_max=4, gpus_per_node=gpus, cpus_per_rank=cpus),
        submitted_s=0.0,
        user=user,
        account=lab,
        qos=qos,
    ),
    st.sampled_from(USERS),
    st.sampled_from(tuple(LABS)),
    st.sampled_from(QOS),
    st.integers(0, 4),
    st.integers(1, 4),
)
steps = st.lists(st.tuples(st.booleans(), jobs, st.integers(1, 4), st.integers(0, 99)), max_size=40)


def under(job: Queued, account: Account) -> bool:
    if account.user:
        return (job.account, job.user) == (account.name, account.user)
    return account.name in (job.account, LABS[job.account])


def within(limit: float | None, used: float) -> bool:
    return limit is None or used <= limit


def check(cluster: Cluster, running: dict[str, tuple[Queued, int]]) -> None:
    for account in cluster.accounts:
        mine = [(job, width) for job, width in running.values() if under(job, account)]
        limits = account.limits
        assert within(limits.grp_jobs, len(mine))
        gpus = sum(job.request.gpus_per_node * width for job, width in mine)
        if any(job.request.gpus_per_node for job, _ in mine):
            assert within(limits.grp_tres.gpu, gpus)
        assert within(limits.grp_tres.node, sum(width for _, width in mine)) or not mine
        if account.user:
            for job, width in mine:
                assert within(limits.max_tres.cpu, job.request.cpus_per_node * width)
    for qos, user in product(cluster.qos, USERS):
        mine = [one for one in running.values() if (one[0].qos, one[0].user) == (qos.name, user)]
        assert within(qos.limits.max_jobs_pu, len(mine))
        gpus = sum(job.request.gpus_per_node * width for job, width in mine)
        assert within(qos.limits.max_tres_pu.gpu, gpus)
    for qos, lab in product(cluster.qos, LABS):
        mine = [one for one in running.values() if (one[0].qos, one[0].account) == (qos.name, lab)]
        assert within(qos.limits.max_jobs_pa, len(mine))


@given(clusters(), steps)
def test_no_limit_is_ever_exceeded_and_counts_return_to_nothing(
    cluster: Cluster, drawn: list[tuple[bool, Queued, int, int]]
) -> None:
    limiter = Limiter(cluster)
    running: dict[str, tuple[Queued, int]] = {}
    for number, (starts, drawn_job, width, pick) in enumerate(drawn):
        if starts or not running:
            job = replace(drawn_job, id=str(number))
            hit = limiter.blocked(job, width)
            assert hit is None or limiter.applies(job)
            if hit is None:
                limiter.start(job, width)
                running[job.id] = job, width
                check(cluster, running)
        else:
            job, width = running.pop(list(running)[pick % len(running)])
            limiter.end(job, width)
    for job, width in running.values():
        limiter.end(job, width)
    assert limiter.counts() == {}


@given(clusters(), steps)
def test_a_run_that_is_blocked_would_exceed_what_the_hit_says(
    cluster: Cluster, drawn: list[tuple[bool, Queued, int, int]]
) -> None:
    limiter = Limiter(cluster)
    for _, job, width, _ in drawn:
        hit = limiter.blocked(job, width)
        if hit is None:
            limiter.start(job, width)
        else:
            assert hit.used + hit.needed > hit.allowed


@given(clusters(), st.lists(jobs, max_size=30))
def test_no_more_runs_are_in_the_system_than_may_be_submitted(
    cluster: Cluster, drawn: list[Queued]
) -> None:
    limiter = Limiter(cluster)
    submitted: list[Queued] = []
    for job in drawn:
        hit = limiter.refusal(job)
        if hit is None:
            limiter.submit(job)
            submitted.append(job)
    count = Counter(
        index
        for index, account in enumerate(cluster.accounts)
        for job in submitted
        if under(job, account)
    )
    for index, account in enumerate(cluster.accounts):
        assert within(account.limits.grp_submit_jobs, count[index])
    for job in submitted:
        limiter.remove(job)
    assert limiter.counts() == {}
