"""What ``up`` is about to make."""

from pathlib import Path

import pytest

from headrace.cluster.bringup import cables, up, virtual
from headrace.cluster.bringup.errors import ClusterExists, PartitionInvalid, RequestInvalid
from headrace.cluster.bringup.plan import (
    Cluster,
    Request,
    free_prefix,
    is_link_of,
    make_cluster,
    parse_hierarchies,
)
from headrace.cluster.bringup.state import save
from headrace.cluster.bringup.up import plan_cluster


def cluster(nodes: int = 2, bandwidth: str | None = None) -> Cluster:
    return make_cluster(
        Request(nodes=nodes, bandwidth=bandwidth),
        identity="012345ab",
        maker=None,
        folder=Path("/c"),
        prefix="10.85.0",
        hierarchies=[],
    )


def links(made: Cluster) -> list[str]:
    return [made.bridge, *(box.link for box in made.boxes)]


def test_links_are_known_by_the_id_and_those_of_others_are_not_taken_for_ours() -> None:
    assert links(cluster()) == ["hr012345", "hr012345-0", "hr012345-1", "hr012345-2"]
    assert all(map(is_link_of("012345ab"), links(cluster())))
    others = ["hr012346", "hr012346-0", "hr0123456", "hr012345-eth", "lo", "xhr012345"]
    assert not any(map(is_link_of("012345ab"), others))


def test_the_longest_name_of_a_link_is_one_that_the_kernel_takes() -> None:
    assert max(map(len, links(cluster(nodes=100)))) <= 15


def test_a_network_that_somebody_uses_is_passed_over() -> None:
    assert free_prefix("default via 192.0.2.1 dev eth0\n") == "10.85.0"
    assert free_prefix("10.85.3.0/24 dev eth1\n10.86.0.0/16 dev eth2\n") == "10.87.0"
    assert free_prefix("".join(f"10.{n}.0.0/16 dev x\n" for n in range(80, 110))) is None


def test_hierarchies_are_found_where_controllers_share_one() -> None:
    mounts = (
        "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n"
        "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
        "cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n"
        "cgroup /sys/fs/cgroup/freezer cgroup rw,freezer 0 0\n"
        "cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n"
    )
    devices = "cgroup /sys/fs/cgroup/devices cgroup rw,devices 0 0\n"
    assert parse_hierarchies(mounts) == []
    assert [one.options for one in parse_hierarchies(mounts + devices)] == [
        "cpu,cpuacct",
        "memory",
        "cpuset",
        "freezer",
        "devices",
    ]
    assert parse_hierarchies("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n") == []


def test_partitions_are_read_from_one_line() -> None:
    main, short, one = virtual.parse_partitions("main,short=1-2@10:00,one=3", 4)
    assert (main.nodes, main.default, main.max_time) == ("n[1-4]", True, "1-0")
    assert (short.nodes, short.default, short.max_time) == ("n[1-2]", False, "10:00")
    assert one.nodes == "n3"


@pytest.mark.parametrize("text", ["a b", "", "m=0-2", "m=3-9", "m=x", "m,m", "m@soon", "m=2-1"])
def test_a_partition_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(PartitionInvalid):
        virtual.parse_partitions(text, 4)


def test_an_odd_node_has_a_leaf_of_its_own() -> None:
    assert [one.nodes or one.switches for one in virtual.switches(3)] == [
        "n[1-2]",
        "n3",
        "leaf[1-2]",
    ]
    assert [one.name for one in virtual.switches(2)] == ["leaf1"]


def test_every_user_is_in_both_accounts() -> None:
    commands = virtual.accounts_commands(Request(nodes=1, users=("ada", "bob", "ada")))
    assert commands[-1][:4] == ["add", "user", "ada,bob", "account=lab1,lab2"]
    assert len(virtual.accounts_commands(Request(nodes=1))) == len(commands) - 1


def test_a_limited_cable_is_limited_at_the_machines_end_too() -> None:
    plan = cluster(bandwidth="100mbit")
    *_, shaped = cables.cable_commands(plan, plan.nodes[0], 42)
    assert shaped[:6] == ["tc", "qdisc", "add", "dev", "hr012345-1", "root"]
    assert len(cables.cable_commands(cluster(), plan.nodes[0], 42)) == 2


@pytest.mark.parametrize(
    "request_",
    [
        Request(nodes=0),
        Request(nodes=1000),
        Request(nodes=1, users=("no such user",)),
        Request(nodes=1, proctrack="pgid"),
        Request(nodes=1, bandwidth="fast"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_before_anything_is_made(
    request_: Request, tmp_path: Path
) -> None:
    with pytest.raises(RequestInvalid):
        plan_cluster(request_, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_control_groups_are_refused_where_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "_writable_hierarchies", list)
    assert plan_cluster(Request(nodes=1), tmp_path / "c").hierarchies == ()
    with pytest.raises(RequestInvalid, match="--proctrack cgroup"):
        plan_cluster(Request(nodes=1, proctrack="cgroup"), tmp_path / "c")


def test_a_second_cluster_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    save(
        make_cluster(
            Request(nodes=1),
            identity="012345ab",
            maker=None,
            folder=folder,
            prefix="10.85.0",
            hierarchies=[],
        )
    )
    with pytest.raises(ClusterExists) as caught:
        plan_cluster(Request(nodes=1), folder)
    assert str(caught.value) == (
        f"error HR-CLUSTER-003: there is a virtual cluster already: {folder}, starting\n"
        "  why: a machine has at most one\n"
        "  fix: headrace cluster down"
    )
