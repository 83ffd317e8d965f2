"""Which layout is proposed, and what is set and read back."""

import stat
from pathlib import Path

import pytest

from headrace.cluster.storage.apply import Granted, apply, check
from headrace.cluster.storage.errors import (
    FolderNotEmpty,
    LayoutRefused,
    NoLayout,
    NoSuchFolder,
)
from headrace.cluster.storage.layouts import Proposal, Purpose, Use, propose
from headrace.cluster.storage.storage import Component, Files, Layout, Storage, Target
from headrace.core.records import replace

GIB = 1 << 30
PLAIN = Layout(components=(Component(count=1, size_bytes=1 << 20),), default=True, tool="lfs")


def target(index: int, *, kind: str = "ost", free: float = 0.5, active: bool = True) -> Target:
    return Target(
        name=f"mill-{kind.upper()}{index:04x}",
        kind=kind,
        index=index,
        size_bytes=100 * GIB,
        free_bytes=round(free * 100 * GIB),
        active=active,
    )


LUSTRE = Storage(
    path="/mill/ada",
    looked_at="/mill/ada",
    kind="lustre",
    fstype="lustre",
    source="s1@tcp:/mill",
    mount="/mill",
    network=True,
    empty=True,
    version="2.15.5",
    layout=PLAIN,
    targets=(target(0, kind="mdt"), *(target(index) for index in range(16))),
)
BEEGFS = replace(
    LUSTRE,
    kind="beegfs",
    fstype="beegfs",
    layout=replace(PLAIN, tool="beegfs-ctl"),
)


def command(storage: Storage, use: Use) -> str:
    found = propose(storage, use)
    return "" if found is None else " ".join(found.command)


@pytest.mark.parametrize(
    ("ranks", "size_bytes", "options"),
    [
        (1, None, "-c 16 -S 4M"),
        (4, None, "-c 4 -S 4M"),
        (64, None, "-c 1 -S 4M"),
        (1, 512 << 20, "-c 2 -S 4M"),
        (5, 40 * GIB, "-c 4 -S 4M"),
        (16, 1 << 20, ""),
    ],
)
def test_checkpoints_use_each_target_and_give_none_too_little(
    ranks: int, size_bytes: int | None, options: str
) -> None:
    use = Use(purpose=Purpose.CHECKPOINT, file_bytes=size_bytes, ranks=ranks)
    assert command(LUSTRE, use) == (options and f"lfs setstripe {options} /mill/ada")


@pytest.mark.parametrize(
    ("size_bytes", "options"),
    [
        (8 * GIB, "-c 8 -S 4M"),
        (1 << 40, "-c 16 -S 4M"),
        (300 << 20, "-c 1 -S 4M"),
        (10 << 20, ""),
        (20 << 10, "-E 64k -L mdt -E -1 -c 1 -S 1M"),
    ],
)
def test_data_is_spread_by_the_gib_and_small_files_lie_beside_their_metadata(
    size_bytes: int, options: str
) -> None:
    use = Use(purpose=Purpose.DATA, file_bytes=size_bytes, ranks=8)
    assert command(LUSTRE, use) == (options and f"lfs setstripe {options} /mill/ada")


def test_files_of_unknown_size_spread_as_they_grow() -> None:
    use = Use(purpose=Purpose.DATA)
    assert command(LUSTRE, use) == (
        "lfs setstripe -E 64M -c 1 -S 1M -E 4G -c 4 -S 4M -E -1 -c 16 -S 4M /mill/ada"
    )
    few = replace(LUSTRE, targets=(target(0), target(1)))
    assert command(few, use) == "lfs setstripe -E 64M -c 1 -S 1M -E -1 -c 2 -S 4M /mill/ada"
    old = replace(LUSTRE, version="2.5.42")
    assert command(old, use) == "lfs setstripe -c 4 -S 4M /mill/ada"


def test_the_size_of_files_that_are_there_counts() -> None:
    files = Files(count=10, size_bytes=80 * GIB, small=0, without_blocks=0, more=False)
    use = Use(purpose=Purpose.DATA)
    assert command(replace(LUSTRE, files=files), use) == "lfs setstripe -c 8 -S 4M /mill/ada"


def test_small_files_stay_off_metadata_servers_that_are_full_or_old() -> None:
    use = Use(purpose=Purpose.DATA, file_bytes=1000)
    full = (target(0, kind="mdt", free=0.1), *LUSTRE.osts)
    assert command(replace(LUSTRE, targets=full), use) == ""
    assert command(replace(LUSTRE, version="2.10.8"), use) == ""


def test_targets_that_are_full_or_out_are_not_reckoned_with() -> None:
    targets = (target(0, free=0.01), target(1, active=False), target(2), target(3))
    use = Use(purpose=Purpose.CHECKPOINT)
    assert command(replace(LUSTRE, targets=targets), use) == "lfs setstripe -c 2 -S 4M /mill/ada"


def test_a_layout_that_is_there_already_is_not_proposed() -> None:
    use = Use(purpose=Purpose.CHECKPOINT)
    for count in (16, -1):
        part = Component(count=count, size_bytes=4 << 20, pool="flash")
        good = Layout(components=(part,), default=True, tool="lfs")
        assert propose(replace(LUSTRE, layout=good), use) is None


def test_beegfs_is_set_by_the_tool_that_answered() -> None:
    use = Use(purpose=Purpose.CHECKPOINT, ranks=4)
    assert command(BEEGFS, use) == (
        "beegfs-ctl --setpattern --numtargets=4 --chunksize=4M /mill/ada"
    )
    newer = replace(BEEGFS, layout=replace(PLAIN, tool="beegfs"))
    assert command(newer, use) == "beegfs entry set --num-targets=4 --chunk-size=4MiB /mill/ada"


@pytest.mark.parametrize(
    "storage",
    [
        replace(LUSTRE, targets=()),
        replace(LUSTRE, answers=False),
        replace(LUSTRE, folder=False),
        replace(LUSTRE, kind="ext4", layout=None),
        replace(BEEGFS, layout=None),
    ],
    ids=["no targets known", "hangs", "a file", "no layouts", "no tool"],
)
def test_nothing_is_proposed_where_too_little_is_known(storage: Storage) -> None:
    assert propose(storage, Use(purpose=Purpose.CHECKPOINT)) is None


# ---- setting it


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    there = tmp_path / "ckpt"
    there.mkdir()
    return replace(LUSTRE, path=str(there), looked_at=str(there))


def proposal(storage: Storage, script: str, tmp_path: Path) -> Proposal:
    """What is proposed for checkpoints, set by a stand-in for lfs."""
    found = propose(storage, Use(purpose=Purpose.CHECKPOINT))
    assert found is not None
    tool = tmp_path / "lfs"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    return replace(found, command=(str(tool), *found.command[1:]))


def test_what_was_granted_is_read_back(folder: Storage, tmp_path: Path) -> None:
    wanted = proposal(folder, f'echo "$*" > {tmp_path}/said', tmp_path)
    less = replace(wanted.layout, components=(Component(count=8, size_bytes=4 << 20),))
    asked = apply(folder, wanted, lambda path: replace(folder, layout=wanted.layout))
    assert asked == Granted(layout=wanted.layout, as_asked=True)
    assert (tmp_path / "said").read_text() == f"setstripe -c 16 -S 4M {folder.path}\n"
    assert apply(folder, wanted, lambda path: replace(folder, layout=less)) == Granted(
        layout=less, as_asked=False
    )
    nothing = apply(folder, wanted, lambda path: replace(folder, layout=None))
    assert nothing == Granted(layout=None, as_asked=False)


def test_a_tool_that_refuses_is_quoted(folder: Storage, tmp_path: Path) -> None:
    wanted = proposal(folder, "echo 'not permitted' >&2; exit 1", tmp_path)
    with pytest.raises(LayoutRefused) as raised:
        apply(folder, wanted)
    assert str(raised.value) == (
        f"error HR-STORAGE-005: {tmp_path}/lfs setstripe -c 16 -S 4M {folder.path} failed\n"
        "  why: not permitted\n"
        "  fix: ask who runs the file system: setting layouts may be root's"
    )


def test_a_folder_with_files_is_refused_with_the_way_to_rewrite_them(
    folder: Storage, tmp_path: Path
) -> None:
    full = replace(folder, empty=False)
    with pytest.raises(FolderNotEmpty) as raised:
        check(full, proposal(folder, "", tmp_path))
    assert str(raised.value) == (
        f"error HR-STORAGE-004: {folder.path} is not empty\n"
        "  why: a layout holds for new files; those that are there would keep theirs\n"
        "  fix: give an empty folder, or rewrite each file there: lfs migrate -c 16 -S 4M FILE"
    )


def test_a_folder_that_is_not_there_is_refused_since_lfs_would_make_a_file(
    folder: Storage, tmp_path: Path
) -> None:
    later = replace(folder, path=f"{folder.path}/later")
    with pytest.raises(NoSuchFolder) as raised:
        check(later, proposal(folder, "", tmp_path))
    assert str(raised.value) == (
        f"error HR-STORAGE-002: {later.path} is no folder\n"
        "  why: a layout is set on, and speed is measured in, a folder that is there\n"
        f"  fix: mkdir -p {later.path}, then again"
    )


def test_no_layout_to_set_says_what_could_not_be_asked(folder: Storage) -> None:
    blind = replace(folder, unknown=("lfs df: No such file or directory",))
    with pytest.raises(NoLayout) as raised:
        check(blind, None)
    assert str(raised.value) == (
        f"error HR-STORAGE-003: there is no layout to set on {folder.path} (lustre)\n"
        "  why: lfs df: No such file or directory\n"
        "  fix: headrace storage PATH shows what it has"
    )
