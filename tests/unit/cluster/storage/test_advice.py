"""What follows from the facts, rule by rule."""

import pytest
from tests.unit.cluster.storage.test_layouts import GIB, LUSTRE, target

from headrace.cluster.storage.advice import Advice, Level, advise
from headrace.cluster.storage.layouts import Purpose, Use
from headrace.cluster.storage.storage import (
    Brick,
    Component,
    Device,
    Files,
    Layout,
    Quota,
    Storage,
    Volume,
)
from headrace.core.records import replace

CHECKPOINT, DATA = Use(purpose=Purpose.CHECKPOINT), Use(purpose=Purpose.DATA)
HEALTHY = replace(
    LUSTRE,
    size_bytes=1000 * GIB,
    free_bytes=900 * GIB,
    inodes=1000,
    inodes_free=900,
    flock="flock",
    layout=Layout(components=(Component(count=-1, size_bytes=4 << 20),), default=True, tool="lfs"),
)
LOCAL = replace(HEALTHY, kind="ext4", fstype="ext4", network=False, targets=(), layout=None)


def topics(storage: Storage, *uses: Use) -> dict[str, Advice]:
    return {one.topic: one for one in advise(storage, uses)}


def test_nothing_is_said_of_what_is_well() -> None:
    assert advise(HEALTHY, [CHECKPOINT]) == ()
    assert advise(LOCAL, [CHECKPOINT, DATA]) == ()


def test_of_one_that_hangs_only_that_is_said() -> None:
    (one,) = advise(replace(HEALTHY, answers=False), [CHECKPOINT, DATA])
    assert (one.topic, one.text) == ("hangs", "Lustre at /mill does not answer.")


def test_a_better_layout_is_a_command() -> None:
    found = topics(LUSTRE, CHECKPOINT)["layout"]
    assert found.level is Level.ACT
    assert found.remedy == "lfs setstripe -c 16 -S 4M /mill/ada"


def test_room_inodes_quota_and_targets_that_end() -> None:
    scarce = replace(
        HEALTHY,
        free_bytes=10 * GIB,
        inodes_free=5,
        quota=Quota(used_bytes=95 * GIB, hard_bytes=100 * GIB),
        targets=(
            replace(target(0, kind="mdt"), inodes=100, inodes_free=50),
            target(0, free=0.01),
            target(1, active=False),
            *(target(index) for index in range(2, 6)),
        ),
    )
    found = topics(scarce)
    assert set(found) == {"room", "inodes", "quota", "full targets", "targets out of use"}
    assert found["full targets"].text == "1 of 5 targets are nearly full: mill-OST0000."
    assert found["targets out of use"].text == "mill-OST0001: no answer."
    assert all(one.level is Level.ACT for one in found.values())


def test_a_metadata_server_without_inodes_is_named() -> None:
    meta = replace(target(0, kind="mdt"), inodes=1000, inodes_free=1)
    found = topics(replace(HEALTHY, targets=(meta, *HEALTHY.osts)))
    assert found["inodes"].text == "mill-MDT0000 has 1 of 1,000 inodes left."


def test_many_small_files_are_to_be_packed_but_not_on_a_disk() -> None:
    files = Files(count=200, size_bytes=200 << 10, small=190, without_blocks=0, more=True)
    assert "headrace data pack" in topics(replace(HEALTHY, files=files))["small files"].remedy
    assert topics(replace(LOCAL, files=files)) == {}


@pytest.mark.parametrize(
    ("kind", "remedy"), [("lustre", "lfs hsm_restore FILE"), ("gpfs", "dsmrecall FILE")]
)
def test_what_is_on_tape_is_to_be_brought_back(kind: str, remedy: str) -> None:
    asleep = replace(HEALTHY, kind=kind, offline=True, layout=None)
    assert remedy in topics(asleep)["offline"].remedy
    files = Files(count=2, size_bytes=2 * GIB, small=0, without_blocks=2, more=False)
    some = replace(HEALTHY, kind=kind, files=files)
    assert topics(some)["offline"].text.startswith("2 files have a size but no byte on disk")


def test_locks_that_do_not_hold() -> None:
    assert "with an error" in topics(replace(HEALTHY, flock="noflock"))["flock"].text
    assert "this node alone" in topics(replace(HEALTHY, flock="localflock"))["flock"].text
    assert topics(replace(LOCAL, flock="localflock")) == {}


def test_mmap_is_for_data_on_servers() -> None:
    assert "mmap" in topics(HEALTHY, DATA)
    assert "mmap" not in topics(HEALTHY, CHECKPOINT)
    assert "mmap" not in topics(LOCAL, DATA)


def test_blocks_of_gpfs() -> None:
    gpfs = replace(HEALTHY, kind="gpfs", layout=None, targets=(), block_bytes=4 << 20)
    assert "multiples of 4 MiB" in topics(gpfs)["blocks"].remedy
    old = replace(gpfs, block_bytes=16 << 20, subblock_bytes=512 << 10)
    assert topics(old)["small files"].text == "The smallest file takes 512 KiB."


def test_data_on_metadata_servers_that_fill_up() -> None:
    begins = Component(end_bytes=65536, count=0, size_bytes=65536, pattern="mdt")
    layout = Layout(components=(begins, Component(count=16, size_bytes=4 << 20)), tool="lfs")
    full = (target(0, kind="mdt", free=0.1), *HEALTHY.osts)
    found = topics(replace(HEALTHY, layout=layout, targets=full))
    assert "mill-MDT0000 is nearly full" in found["data on metadata servers"].text
    assert "data on metadata servers" not in topics(replace(HEALTHY, layout=layout))


def test_nfs_and_its_caches() -> None:
    nfs = replace(LOCAL, kind="nfs", fstype="nfs4", network=True, options=("rw", "vers=4.2"))
    assert "60 s later" in topics(nfs)["attribute cache"].text
    short = replace(nfs, options=("rw", "acdirmax=30", "rsize=65536"))
    assert "30 s later" in topics(short)["attribute cache"].text
    assert topics(short)["rsize"].text == "Reads go in pieces of 64 KiB."
    slow = topics(replace(nfs, options=("rw", "noac")))["attribute cache"]
    assert slow.level is Level.ACT


def test_bricks_that_are_down_and_copies() -> None:
    bricks = tuple(Brick(host=f"s{n}", path="/b", up=n != 2) for n in (1, 2, 3))
    gluster = replace(LOCAL, kind="gluster", network=True, flock="flock")
    three = replace(gluster, volume=Volume(name="mill", bricks=bricks, replica=3))
    assert topics(three)["bricks"].text == "1 of 3 bricks do not answer: s2:/b."
    assert "fewer copies" in topics(three)["bricks"].remedy
    assert "1/3 of its link" in topics(three)["copies"].text
    one = replace(gluster, volume=Volume(name="mill", bricks=bricks))
    assert "cannot be read" in topics(one)["bricks"].remedy
    assert "a lost brick is lost data" in topics(one)["copies"].text


def test_a_rotating_disk_is_worth_measuring_for_data() -> None:
    disk = Device(name="sda", nvme=False, rotating=True)
    assert "disk" in topics(replace(LOCAL, device=disk), DATA)
    assert topics(replace(LOCAL, device=disk), CHECKPOINT) == {}


@pytest.mark.parametrize(
    ("kind", "fstype", "options", "why"),
    [
        ("overlay", "overlay", (), "a container's own layer"),
        ("tmpfs", "tmpfs", (), "it is memory"),
        ("fuse.s3fs", "fuse.s3fs", (), "an object store"),
        ("sshfs", "fuse.sshfs", (), "not one step"),
        ("9p", "9p", ("cache=loose",), "cache is loose"),
        ("nfs", "nfs4", ("soft",), "mounted soft"),
        ("ext4", "ext4", ("nobarrier",), "without barriers"),
    ],
)
def test_where_a_checkpoint_is_not_safe(
    kind: str, fstype: str, options: tuple[str, ...], why: str
) -> None:
    weak = replace(LOCAL, kind=kind, fstype=fstype, options=options)
    found = topics(weak, CHECKPOINT)["durability"]
    assert why in found.text
    assert found.level is Level.ACT
    assert topics(weak, DATA)["durability"].level is Level.KNOW


def test_what_to_do_comes_before_what_to_know() -> None:
    storage = replace(HEALTHY, flock="noflock", free_bytes=GIB)
    assert next(iter(advise(storage, [DATA]))).topic != "flock"
