"""Slurm's reasons with the numbers behind them; sprio's columns."""

from tests.unit.engines.slurm.clusters import NOW_S, facts, job, runs

from headrace.engines.slurm.everyone import Job
from headrace.engines.slurm.weights import parse_weights
from headrace.engines.slurm.why import Known, dependencies, parse_free, reasons_of
from headrace.schedule.reason import (
    ArrayThrottle,
    Dependency,
    NotBefore,
    OnHold,
    Priority,
    Reason,
    Resources,
    Told,
)
from headrace.schedule.request import Request

NODES = """\
NodeName=n1 Arch=x86_64 CoresPerSocket=2  CPUAlloc=2 CPUEfctv=2 CPUTot=2 Gres=gpu:virtual:2 \
NodeAddr=10.86.0.1 OS=Linux 6.1 #1 SMP RealMemory=7231 AllocMem=100 State=ALLOCATED \
CfgTRES=cpu=2,mem=7231M,gres/gpu=2 AllocTRES=cpu=2,mem=100M,gres/gpu=1 CapWatts=n/a
NodeName=n2 CPUAlloc=0 CPUTot=2 Gres=(null) RealMemory=7231 AllocMem=0 State=IDLE AllocTRES=
NodeName=n3 CPUAlloc=0 CPUTot=2 Gres=(null) RealMemory=7231 AllocMem=0 State=IDLE+DRAIN AllocTRES=
"""


def known(own: Job, *others: Job, **fields: str) -> Known:
    return Known(
        own=own,
        request=Request(nodes_min=own.width, nodes_max=own.width),
        fields=fields,
        jobs=(own, *others),
        nodes=tuple(parse_free(NODES)),
        limits=(),
    )


def reasons(own: Job, *others: Job, **fields: str) -> list[Reason]:
    return reasons_of(
        known(own, *others, **fields), facts(), lambda one: f"job {one.job_id}", ["a-1"]
    )


def test_what_is_free_on_a_node_counts_gpus_and_nothing_of_one_that_drains() -> None:
    n1, n2, n3 = parse_free(NODES)
    assert (n1.cpus, n1.gpus, n1.memory_bytes >> 20) == (0, 1, 7131)
    assert [node.has_room(Request()) for node in (n1, n2, n3)] == [False, True, False]


def test_resources_say_how_many_nodes_fit_and_who_holds_the_others_until_when() -> None:
    holder = runs(1, "n1", until_s=600.0)
    (found,) = reasons(job(5, width=2, reason="Resources"), holder)
    assert isinstance(found, Resources)
    (short,) = found.short
    assert (short.kind, short.needed, short.free, short.held_by) == ("nodes", 2, 1, 1)
    assert short.holders[0].run == "job 1"
    assert short.holders[0].until_s == NOW_S + 600.0


def test_priority_names_the_first_that_is_ahead() -> None:
    ahead = job(3, priority=2000)
    first, *rest = reasons(job(5, width=1), ahead, job(4, priority=1500))
    assert first == Priority(behind="job 3", before=2)
    assert rest == []


def test_other_words_have_their_own_kinds() -> None:
    begin = job(5, reason="BeginTime", start_s=NOW_S + 60)
    throttled = reasons(job(5, reason="JobArrayTaskLimit"), ArrayTaskThrottle="2")
    assert reasons(job(5, reason="JobHeldUser")) == [OnHold()]
    assert reasons(job(5, reason="Dependency")) == [Dependency(waits_for=("a-1",))]
    assert reasons(begin) == [NotBefore(begin_s=NOW_S + 60)]
    assert throttled == [ArrayThrottle(limit=2)]
    (unknown,) = reasons(job(5, reason="QOSGrpCpuLimit"))
    assert isinstance(unknown, Told)
    assert "(QOSGrpCpuLimit)" in unknown.text
    (drained,) = reasons(job(5, reason="ReqNodeNotAvail, UnavailableNodes:n3"))
    assert isinstance(drained, Told)
    assert "n3" in drained.text


def test_dependencies_are_read_with_their_conditions() -> None:
    text = "afterok:4711(unfulfilled),afterany:4712_3(unfulfilled)"
    assert dependencies(text) == [("afterok", "4711"), ("afterany", "4712_3")]
    assert dependencies("(null)") == []


def test_parts_of_a_priority_are_read_where_they_are_greatest() -> None:
    line = (
        "21|{}|{}|0|12|0|40000|750|1000|100000|0|cpu=12.5,gres/gpu=800.0|"
        "0.0010000|0.0000000|0.4000000|0.7500000|1.0000000|0.1000000\n"
    )
    found = parse_weights(line.format("main", 141762) + line.format("low", 1000))
    factors = found["21"]
    assert (factors.total, factors.fairshare.raw, factors.age.weighted) == (141762, 0.4, 12.0)
    assert {name: one.weighted for name, one in factors.tres.items()} == {"cpu": 12.5, "gpu": 800.0}
