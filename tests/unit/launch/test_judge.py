"""What agents saw becomes findings: in words, on the right node, as hard as it has to be."""

import pytest

from headrace.cluster.nodes.gpu_use import GpuUse, GpuUser
from headrace.core.events import NodeFinding
from headrace.core.records import replace
from headrace.launch.facts import NodeFacts
from headrace.launch.judge import Setting, given_up, judge

MIB, GIB = 1 << 20, 1 << 30
NODES = ("n1", "n2", "n3")
GOOD = NodeFacts(
    address="10.0.0.1",
    port=4000,
    interface="eth0",
    memlock_bytes=None,
    shm_bytes=64 * GIB,
    shm_free_bytes=64 * GIB,
    versions={"headrace": "0.1.0", "Python": "3.11", "torch": "2.11.0", "NCCL": "2.28.3"},
)


def found(
    facts: dict[str, NodeFacts] | None = None,
    *,
    unreached: dict[str, dict[str, str]] | None = None,
    nodes: tuple[str, ...] = NODES,
    elsewhere: bool = True,
    ranks: int = 1,
) -> list[NodeFinding]:
    setting = Setting(nodes=nodes, ranks_per_node=ranks, elsewhere=elsewhere)
    return judge(dict.fromkeys(nodes, GOOD) | (facts or {}), unreached or {}, setting)


def shown(findings: list[NodeFinding]) -> list[tuple[tuple[str, ...], str, str]]:
    return [(one.nodes, one.check, one.level) for one in findings]


def test_nothing_is_found_on_good_nodes() -> None:
    assert found() == []


def test_a_full_shared_memory_is_hard_and_a_small_one_is_said() -> None:
    full = replace(GOOD, shm_bytes=64 * MIB, shm_free_bytes=3 * MIB)
    small = replace(GOOD, shm_bytes=64 * MIB, shm_free_bytes=64 * MIB)
    assert [one.text for one in found({"n2": full}, ranks=8)] == [
        "/dev/shm has 3 MiB free of 64 MiB for 8 ranks; NCCL, gloo and data loaders share memory "
        "there"
    ]
    assert shown(found({"n2": full})) == [(("n2",), "shm", "hard")]
    assert shown(found({"n2": small})) == [(("n2",), "shm", "warning")]


def test_little_locked_memory_matters_where_there_is_rdma() -> None:
    low = replace(GOOD, memlock_bytes=8 * MIB)
    assert found({"n2": low}) == []
    (one,) = found({"n2": replace(low, rdma=("mlx5_0",))})
    assert (one.level, one.text) == (
        "hard",
        "only 8.0 MiB of memory may be locked, and mlx5_0 needs it locked: transfers fail with "
        "'Cannot allocate memory'",
    )
    assert "LimitMEMLOCK=infinity" in one.remedy


def test_what_several_nodes_have_alike_is_one_finding() -> None:
    small = replace(GOOD, shm_bytes=64 * MIB, shm_free_bytes=64 * MIB)
    assert shown(found(dict.fromkeys(NODES, small))) == [(NODES, "shm", "warning")]


def test_where_a_run_can_go_nowhere_else_a_hard_finding_is_a_warning() -> None:
    full = replace(GOOD, shm_free_bytes=0)
    alone = found({"n1": full}, nodes=("n1",), elsewhere=False)
    assert shown(alone) == [(("n1",), "shm", "warning")]
    assert given_up(alone) == {}


@pytest.mark.parametrize(
    ("ahead_s", "within_s", "level"),
    [(0.9, 0.0, None), (-2.5, 0.1, "warning"), (2.5, 2.0, None), (-60.0, 0.1, "hard")],
)
def test_a_clock_is_judged_by_what_is_sure(
    ahead_s: float, within_s: float, level: str | None
) -> None:
    late = replace(GOOD, clock_ahead_s=ahead_s, clock_within_s=within_s)
    assert [one.level for one in found({"n2": late})] == ([] if level is None else [level])


def test_the_clock_of_a_node_is_said_with_its_sign() -> None:
    (one,) = found({"n2": replace(GOOD, clock_ahead_s=-2.5)})
    assert one.text.startswith("its clock is 2.5 s behind that of the first node")


def test_processes_that_survive_their_kill_are_hard() -> None:
    (one,) = found({"n3": replace(GOOD, survivors=(4711, 4712))})
    assert one.level == "hard"
    assert one.text == "processes of an earlier attempt cannot be killed: 4711, 4712"


def test_taken_gpu_memory_is_said_with_who_has_it() -> None:
    mine = GpuUser(pid=99, name="python", ours=True)
    use = GpuUse(name="3", total_bytes=80 * GIB, used_bytes=40 * GIB, users=(mine,))
    (one,) = found({"n1": replace(GOOD, gpus=(use,))})
    assert (one.level, one.text) == (
        "hard",
        "40.0 of 80.0 GiB of GPU 3 are taken before the run starts, by process 99 (python, yours)",
    )
    little = replace(use, used_bytes=3 * GIB, users=())
    assert shown(found({"n1": replace(GOOD, gpus=(little,))})) == [(("n1",), "gpu", "warning")]
    driver = replace(use, used_bytes=GIB // 2)
    assert found({"n1": replace(GOOD, gpus=(driver,))}) == []


def test_the_node_that_differs_is_named_and_the_first_one_has_the_word_when_it_is_even() -> None:
    old = replace(GOOD, versions=GOOD.versions | {"torch": "2.10.0"})
    (one,) = found({"n1": old})
    assert (one.nodes, one.level) == (("n1",), "hard")
    assert one.text == "torch is 2.10.0 here and 2.11.0 on n2, n3"
    (even,) = found({"n2": old}, nodes=("n1", "n2"))
    assert even.nodes == ("n2",)


def test_a_node_without_what_the_others_have_is_found() -> None:
    bare = replace(GOOD, versions={"headrace": "0.1.0", "Python": "3.11"})
    texts = [one.text for one in found({"n3": bare})]
    assert texts == [
        "torch is none here and 2.11.0 on n1, n2",
        "NCCL is none here and 2.28.3 on n1, n2",
    ]


def test_another_driver_is_a_warning() -> None:
    new = replace(GOOD, versions=GOOD.versions | {"NVIDIA driver": "580.1"})
    assert shown(found({"n2": new})) == [(("n2",), "versions", "warning")]


def test_the_node_that_nobody_reaches_is_blamed_alone() -> None:
    (one,) = found({}, unreached={"n1": {"n3": "no answer in 3 s"}, "n2": {"n3": "refused"}})
    assert (one.nodes, one.check, one.level) == (("n3",), "network", "hard")
    assert one.text == "n1, n2 cannot reach it at 10.0.0.1 (eth0): no answer in 3 s"


def test_the_node_that_reaches_nobody_is_blamed_alone() -> None:
    (one,) = found({}, unreached={"n2": {"n1": "no route to host", "n3": "no route to host"}})
    assert one.nodes == ("n2",)
    assert one.text == "it cannot reach n1, n3: no route to host"


def test_of_two_nodes_that_do_not_reach_each_other_the_first_stays() -> None:
    both = {"n1": {"n2": "refused"}, "n2": {"n1": "refused"}}
    (one,) = found({}, unreached=both, nodes=("n1", "n2"))
    assert one.nodes == ("n2",)
    one_way = found({}, unreached={"n2": {"n1": "refused"}}, nodes=("n1", "n2"))
    assert [one.nodes for one in one_way] == [("n1",)]


def test_a_node_is_given_up_for_its_first_hard_finding() -> None:
    sick = replace(GOOD, shm_free_bytes=0, survivors=(4,))
    findings = found({"n2": sick})
    assert [one.check for one in findings] == ["shm", "processes"]
    assert given_up(findings) == {"n2": findings[0].text}
