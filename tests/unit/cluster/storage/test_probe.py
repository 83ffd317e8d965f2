"""A look at a path ends in time, whatever lies under it."""

import errno
import os
import time
from pathlib import Path

import pytest

from headrace.cluster import storage
from headrace.cluster.nodes.mounts import MountLine
from headrace.cluster.storage import look as look_module
from headrace.cluster.storage import probe
from headrace.cluster.storage.errors import NotLookedAt
from headrace.cluster.storage.questions import Questions
from headrace.core.records import decode, encode

ROOT = MountLine(source="/dev/sda", path="/", fstype="ext4")


def far(folder: Path) -> list[MountLine]:
    return [ROOT, MountLine(source="s1:/mill", path=str(folder), fstype="nfs4")]


def test_a_local_folder_is_known_with_room_and_files(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"x")
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(1 << 20)
    found = storage.of(tmp_path)
    assert found.answers
    assert not found.network
    assert found.free_bytes is not None
    assert found.magic is not None
    assert found.files is not None
    assert (found.files.count, found.files.small, found.files.without_blocks) == (2, 1, 1)
    assert decode(encode(found), storage.Storage) == found


def test_of_a_path_that_is_not_there_the_nearest_folder_is_looked_at(tmp_path: Path) -> None:
    found = storage.of(tmp_path / "runs" / "later")
    assert found.looked_at == str(tmp_path)
    assert found.empty


def test_links_are_followed_and_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there/file").touch()
    (tmp_path / "link").symlink_to("there")
    found = storage.of(tmp_path / "link/file")
    assert found.looked_at == str(tmp_path / "there/file")
    assert not found.folder


def test_a_path_that_the_kernel_refuses_is_said_to_be_so() -> None:
    with pytest.raises(NotLookedAt) as raised:
        storage.of("/a\0b")
    assert str(raised.value) == (
        "error HR-STORAGE-001: /a\0b cannot be looked at\n"
        "  why: embedded null byte\n"
        "  fix: name a folder that you may enter, or the mount it lies on"
    )


def test_a_link_into_a_mount_that_may_hang_is_found_without_entering_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/up").symlink_to("../to-mill")
    (tmp_path / "to-mill").symlink_to(tmp_path / "mill/x")
    found = probe.follow(str(tmp_path / "a/up/deep/er"), far(tmp_path / "mill"))
    assert found == str(tmp_path / "mill/x/deep/er")


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert probe.follow(str(tmp_path / "a"), [ROOT]).startswith(str(tmp_path))


def on_a_network(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """The folder's mount may hang, and the child that looks is this shell script."""
    monkeypatch.setattr(probe, "parse_mounts", lambda text: far(folder))
    monkeypatch.setattr(probe, "child_command", lambda path, deadline_s: ["sh", "-c", script])


def test_a_file_system_that_hangs_is_reported_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_network(monkeypatch, tmp_path, "exec sleep 60")
    begun_s = time.monotonic()
    found = storage.of(tmp_path, deadline_s=0.3)
    assert time.monotonic() - begun_s < 30
    assert (found.answers, found.kind, found.mount) == (False, "nfs", str(tmp_path))
    assert found.unknown == ("no answer from s1:/mill in 0.3 s",)


def test_what_was_known_before_it_hung_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = tmp_path / "known"
    known.write_bytes(encode(storage.of(tmp_path)) + b"\n")
    on_a_network(monkeypatch, tmp_path, f"cat {known}; exec sleep 60")
    found = storage.of(tmp_path, deadline_s=2.0)
    assert found.answers
    assert found.free_bytes is not None
    assert found.unknown == ("the file system stopped answering within 2 s",)


def test_a_child_looks_as_this_process_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    here = storage.of(tmp_path)
    monkeypatch.setattr(probe, "parse_mounts", lambda text: far(tmp_path))
    there = storage.of(tmp_path)
    assert (there.looked_at, there.kind, there.files) == (here.looked_at, here.kind, here.files)


def test_a_child_that_is_refused_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_network(monkeypatch, tmp_path, "echo Permission denied >&2; exit 13")
    with pytest.raises(NotLookedAt, match="cannot be looked at") as raised:
        storage.of(tmp_path)
    assert raised.value.why == "Permission denied"


def test_one_that_says_at_once_that_its_servers_are_gone_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_network(monkeypatch, tmp_path, f"echo Not connected >&2; exit {errno.ENOTCONN}")
    found = storage.of(tmp_path)
    assert (found.answers, found.unknown) == (False, ("Not connected",))


def tools(monkeypatch: pytest.MonkeyPatch, folder: Path, **scripts: str) -> None:
    """Programs of these names come first in PATH."""
    folder.mkdir()
    for name, script in scripts.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_lustre_is_asked_by_its_tools_and_a_tool_that_hangs_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = "mill-OST0000_UUID 1000 400 600 40% /mill[OST:0]"
    tools(
        monkeypatch,
        tmp_path / "bin",
        lfs=f'''case "$1 $2" in
"getstripe -d") echo "stripe_count: 4 stripe_size: 1048576 pattern: raid0 stripe_offset: -1";;
"df -i") echo "{target}";;
df*) exec sleep 60;;
pool_list*) echo "mill.flash";;
--version*) echo "lfs 2.15.5";;
*) echo "no quota" >&2; exit 1;;
esac''',
        lctl="echo 8",
    )
    monkeypatch.setattr(look_module, "kind_of", lambda fstype, magic: "lustre")
    *_, found = look_module.look(str(tmp_path), 4.0)
    assert found.layout is not None
    assert found.layout.default
    assert found.layout.widest.count == 4
    assert (found.pools, found.version, found.flock) == (("flash",), "2.15.5", "noflock")
    assert found.unknown == ("lfs df: gave no answer in time",)


def test_beegfs_is_asked_by_the_tool_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = "+ Type: RAID0\n+ Chunksize: 512K\n+ Number of storage targets: desired: 4\n"
    tools(monkeypatch, tmp_path / "bin", beegfs_ctl=f"printf '{entry}'")
    monkeypatch.setattr(look_module, "kind_of", lambda fstype, magic: "beegfs")
    *_, found = look_module.look(str(tmp_path), 5.0)
    assert found.layout is not None
    assert (found.layout.tool, found.layout.widest.count) == ("beegfs-ctl", 4)
    assert found.unknown == ()


def test_gpfs_is_asked_for_blocks_and_for_bytes_on_tape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools(
        monkeypatch,
        tmp_path / "bin",
        mmlsfs="echo 'mmlsfs::HEADER:version:reserved:reserved:deviceName:fieldName:data:remarks:'"
        "\necho 'mmlsfs::0:1:::mill:blockSize:4194304::'",
        mmlsattr="echo 'Misc attributes: ARCHIVE OFFLINE'",
        mmlsquota="exit 1",
    )
    (tmp_path / "file").write_bytes(b"x")
    monkeypatch.setattr(look_module, "kind_of", lambda fstype, magic: "gpfs")
    *_, found = look_module.look(str(tmp_path / "file"), 5.0)
    assert (found.block_bytes, found.offline, found.unknown) == (4 << 20, True, ())


def test_a_tool_that_is_not_there_is_named() -> None:
    ask = Questions(1.0)
    assert ask("headrace-no-such-tool", "x") == ""
    assert ask.unanswered == ["headrace-no-such-tool x: No such file or directory"]
