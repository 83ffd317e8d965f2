"""Kinds by word and number, and how far a lock reaches."""

import pytest

from headrace.cluster.nodes.mounts import mount_of, parse_mounts
from headrace.cluster.storage.ceph import parse_layout
from headrace.cluster.storage.kinds import flock_mode, is_network, kind_of, may_hang
from headrace.cluster.storage.sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("fstype", "magic", "kind", "network"),
    [
        ("lustre", 0x0BD00BD0, "lustre", True),
        ("gpfs", 0x47504653, "gpfs", True),
        ("beegfs", 0x19830326, "beegfs", True),
        ("nfs4", 0x6969, "nfs", True),
        ("ceph", 0x00C36400, "ceph", True),
        ("fuse.glusterfs", 0x65735546, "gluster", True),
        ("wekafs", None, "weka", True),
        ("panfs", -0x55285516, "panfs", True),
        ("", 0xAAD7AAEA, "panfs", True),
        ("9p", 0x01021997, "9p", True),
        ("ext3", 0xEF53, "ext3", False),
        ("xfs", 0x58465342, "xfs", False),
        ("btrfs", 0x9123683E, "btrfs", False),
        ("zfs", 0x2FC12FC1, "zfs", False),
        ("tmpfs", 0x01021994, "tmpfs", False),
        ("overlay", 0x794C7630, "overlay", False),
        ("gfs2", 0x01161970, "gfs2", True),
        ("fuse.rclone", 0x65735546, "fuse.rclone", False),
        ("", 0x12345678, "unknown", False),
        ("", None, "unknown", False),
    ],
)
def test_kinds(fstype: str, magic: int | None, kind: str, network: bool) -> None:
    assert kind_of(fstype, magic) == kind
    assert is_network(fstype, kind) == network


def test_servers_user_space_and_mounts_on_demand_may_hang_a_disk_may_not() -> None:
    assert all(map(may_hang, ("lustre", "nfs4", "fuse.rclone", "autofs", "gpfs")))
    assert not any(map(may_hang, ("ext4", "tmpfs", "overlay", "proc")))


@pytest.mark.parametrize(
    ("kind", "options", "settings", "mode"),
    [
        ("lustre", ("rw", "flock"), {}, "flock"),
        ("lustre", ("rw", "localflock"), {}, "localflock"),
        ("lustre", ("rw",), {}, "noflock"),
        ("nfs", ("rw", "vers=3", "nolock"), {}, "localflock"),
        ("nfs", ("rw", "local_lock=flock"), {}, "localflock"),
        ("nfs", ("rw", "local_lock=none"), {}, "flock"),
        ("beegfs", (), {"tuneUseGlobalFileLocks": "true"}, "flock"),
        ("beegfs", (), {"tuneUseGlobalFileLocks": "false"}, "localflock"),
        ("beegfs", (), {}, None),
        ("ceph", (), {}, "flock"),
        ("panfs", (), {}, None),
        ("ext4", (), {}, "localflock"),
    ],
)
def test_flock(
    kind: str, options: tuple[str, ...], settings: dict[str, str], mode: str | None
) -> None:
    assert flock_mode(kind, options, settings) == mode


def test_the_longest_mount_holds_a_path_and_blanks_are_undone() -> None:
    text = (
        "/dev/sda / ext4 rw 0 0\n"
        "10.0.0.1@o2ib:/mill /mill lustre rw,flock,user_xattr 0 0\n"
        "home:/e /mill/my\\040home nfs4 rw,vers=4.2 0 0\n"
    )
    mounts = parse_mounts(text)
    found = [mount_of(path, mounts) for path in ("/mill/my home/x", "/mill/my", "/millet")]
    assert [line and line.fstype for line in found] == ["nfs4", "lustre", "ext4"]
    assert found[1] is not None
    assert found[1].options == ("rw", "flock", "user_xattr")


def test_sizes_as_tools_print_them() -> None:
    told = {"512K": 512 << 10, "1.5GiB": 3 << 29, "660k": 660 << 10, "12B": 12, "7": 7}
    assert {text: parse_size(text) for text in told} == told
    assert parse_size("7", unit=1024) == 7168
    assert [parse_size(text) for text in ("", "-", "1X", "9" * 40, "1.2.3")] == [None] * 5
    assert [format_size(n) for n in (12, 4 << 20, 3 << 29, 0)] == [
        "12 B",
        "4 MiB",
        "1.5 GiB",
        "0 B",
    ]


def test_the_layout_of_ceph_is_an_attribute() -> None:
    text = "stripe_unit=4194304 stripe_count=2 object_size=4194304 pool=mill_data"
    found = parse_layout(text, default=True)
    assert found is not None
    part = found.components[0]
    assert (part.count, part.size_bytes, part.pool, found.tool) == (2, 4 << 20, "mill_data", "")
    assert parse_layout("", default=True) is None
