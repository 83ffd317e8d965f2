"""Sources brought near, shared, and let go."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.core.process import Process, boot_id
from headrace.data.cache import limit
from headrace.data.cache.errors import CacheRefused
from headrace.data.cache.folder import CachedSet, CacheFolder, find_folder, open_folder
from headrace.data.cache.listing import list_source
from headrace.data.cache.owner import Holder, holder, this_process
from headrace.data.cache.stage import Progress, Staged, Stager

MIB = 1 << 20
DEAD = holder(Process(boot_id=boot_id(), pid=1, start_ticks=0), "dead-1")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "corpus", 5)


def folder_of(folder: Path, files: int, size_bytes: int = MIB) -> Path:
    (folder / "sub").mkdir(parents=True)
    for number in range(files):
        (folder / "sub" / f"{number:03}").write_bytes(os.urandom(size_bytes))
    (folder / "empty").touch()
    return folder


class Node:
    """A cache folder of its own. ``stage`` for a run that lives, or for one that has ended."""

    def __init__(self, base: Path, limit: str | None = None) -> None:
        self.base = base
        self.environ = {"HEADRACE_CACHE": str(base)}
        if limit:
            self.environ["HEADRACE_CACHE_LIMIT"] = limit
        self.said: list[Progress] = []

    def stage(self, source: Path, *, by: Holder | None = None, in_parts: bool = False) -> Staged:
        user = by or this_process("living-1")
        stager = Stager("nvme", user=user, node="n0", environ=self.environ, say=self.said.append)
        return stager.stage(source, in_parts=in_parts)

    def sets(self) -> list[CachedSet]:
        cache = find_folder(self.base)
        return [] if cache is None else list(cache.sets())

    def taken_bytes(self) -> int:
        return sum(
            path.stat().st_blocks * 512 for path in self.base.rglob("tree/**/*") if path.is_file()
        )


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "node")


def same(one: Path, other: Path) -> bool:
    names = [{path.relative_to(root) for path in root.rglob("*")} for root in (one, other)]
    return names[0] == names[1] and all(
        (one / name).read_bytes() == (other / name).read_bytes()
        for name in names[0]
        if (one / name).is_file()
    )


def test_a_folder_is_copied_once_and_then_found(node: Node, source: Path) -> None:
    first = node.stage(source)
    assert first.tree is not None
    assert same(source, Path(first.tree))
    assert (first.copied_bytes, first.near_bytes, first.why) == (5 * MIB, 5 * MIB, None)
    again = node.stage(source)
    assert (again.tree, again.copied_bytes) == (first.tree, 0)
    assert node.said[-1].near_bytes == 5 * MIB


def test_a_file_has_its_name(node: Node, source: Path) -> None:
    staged = node.stage(source / "sub" / "001")
    assert staged.tree is not None
    assert Path(staged.tree).name == "001"
    assert Path(staged.tree).read_bytes() == (source / "sub" / "001").read_bytes()


def test_a_source_that_changed_is_copied_anew_and_its_old_state_goes_first(
    tmp_path: Path, source: Path
) -> None:
    node = Node(tmp_path / "node", "8M")
    other = folder_of(tmp_path / "other", 1)
    node.stage(other, by=DEAD)
    old = node.stage(source, by=DEAD)
    (source / "sub" / "000").write_bytes(b"new")
    new = node.stage(source)
    assert new.tree not in (None, old.tree)
    assert new.tree is not None
    assert (Path(new.tree) / "sub" / "000").read_bytes() == b"new"
    assert sorted(one.listing.source for one in node.sets()) == [str(source), str(other)]


def test_what_a_living_run_uses_is_never_let_go_for_another(tmp_path: Path, source: Path) -> None:
    node = Node(tmp_path / "node", "8M")
    used = node.stage(source)
    other = folder_of(tmp_path / "other", 5)
    refused = node.stage(other)
    assert (refused.tree, refused.root, refused.copied_bytes) == (None, None, 0)
    assert refused.why == (
        "0.00 GiB do not fit in the 0.01 GiB that copies may take, of which other runs use 0.00 GiB"
    )
    assert used.tree is not None
    assert same(source, Path(used.tree))
    assert [one.listing.source for one in node.sets()] == [str(source)]


def test_the_least_recently_used_goes_when_a_run_has_ended(tmp_path: Path, source: Path) -> None:
    node = Node(tmp_path / "node", "12M")
    for name in ("a", "b"):
        node.stage(folder_of(tmp_path / name, 5), by=DEAD)
    for one in node.sets():
        age_s = time.time() - (100 if one.listing.source.endswith("a") else 1000)
        os.utime(one.root / "manifest.json", (age_s, age_s))
    assert node.stage(source).tree is not None
    left = [one.listing.source for one in node.sets()]
    assert sorted(left) == [str(tmp_path / "a"), str(source)]
    assert node.taken_bytes() <= 12 * MIB


def test_a_part_is_copied_where_a_part_is_of_use(tmp_path: Path, source: Path) -> None:
    node = Node(tmp_path / "node", "3M")
    whole_only = node.stage(source)
    assert (whole_only.root, node.sets()) == (None, [])
    part = node.stage(source, in_parts=True)
    assert part.tree is None
    assert part.root is not None
    assert part.near_bytes == 3 * MIB
    assert part.why is not None
    assert "do not fit" in part.why
    assert node.taken_bytes() <= 3 * MIB


def test_a_file_of_somebody_else_in_the_cache_is_never_deleted(
    tmp_path: Path, source: Path
) -> None:
    node = Node(tmp_path / "node", "8M")
    staged = node.stage(source, by=DEAD)
    assert staged.root is not None
    mine = Path(staged.root) / "tree" / "sub" / "mine"
    mine.write_text("precious")
    folder = Path(staged.root).parent / "notes"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    node.stage(folder_of(tmp_path / "other", 5))
    kept = list(node.base.rglob("mine"))
    assert [path.read_text() for path in kept] == ["precious"]
    assert (folder / "manifest.json").exists()
    assert same(source, source), "the source is as it was"
    assert len(list(source.rglob("*"))) == 7


@pytest.mark.parametrize("spoil", ["open", "file", "full"])
def test_a_folder_that_is_not_ours_is_not_used(tmp_path: Path, source: Path, spoil: str) -> None:
    root = tmp_path / "node" / f"headrace-cache-{os.getuid()}"
    root.parent.mkdir()
    if spoil == "file":
        root.touch()
    else:
        root.mkdir(mode=0o755 if spoil == "open" else 0o700)
        (root / "thesis.tex").touch()
    with pytest.raises(CacheRefused) as caught:
        open_folder(tmp_path / "node")
    assert str(caught.value).startswith(
        f"error HR-CACHE-002: {root} cannot hold copies of data\n  why: "
    )
    assert str(caught.value).endswith(
        "  fix: set HEADRACE_CACHE to a folder on a disk of the node that you may write to"
    )
    staged = Node(tmp_path / "node").stage(source)
    assert staged.tree is None
    assert staged.why is not None
    assert "cannot hold copies of data" in staged.why


def test_a_file_that_changes_while_it_is_copied_has_no_copy(
    node: Node, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = list_source(source)
    (source / "sub" / "002").write_bytes(os.urandom(MIB))
    monkeypatch.setattr("headrace.data.cache.stage.list_source", lambda path: listing)
    staged = node.stage(source)
    assert staged.tree is None
    assert staged.why == f"{source}/sub/002 changed while it was copied"
    assert staged.near_bytes == 4 * MIB


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.getuid() != 0:
        pytest.skip("only root may mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_is_full_before_it_should_be_drops_the_copy_and_keeps_the_others(
    small_disk: Path, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(small_disk)
    first = node.stage(source)
    assert first.tree is not None
    lie = limit.Space(size_bytes=1 << 40, free_bytes=1 << 40)
    monkeypatch.setattr(limit, "measure", lambda folder, tier: lie)
    second = node.stage(folder_of(tmp_path / "large", 10))
    assert second.tree is None
    assert second.why == "the node has no more room: no space left on device"
    assert same(source, Path(first.tree))
    assert not list(small_disk.rglob("*.part"))
    for one in node.sets():
        for file in one.present():
            assert one.copy(file).read_bytes() == one.listing.path(file).read_bytes()


def test_a_small_disk_is_not_filled_beyond_its_reserve(small_disk: Path, source: Path) -> None:
    node = Node(small_disk)
    staged = node.stage(folder_of(source / "more", 10), in_parts=True)
    assert staged.root is not None
    free = os.statvfs(small_disk)
    assert free.f_bavail * free.f_frsize >= 8 * MIB * 5 // 100


STAGE = """
import sys
from pathlib import Path
from headrace.data.cache.owner import this_process
from headrace.data.cache.stage import Stager
def say(said):
    print(said.near_bytes, flush=True)
environ = {"HEADRACE_CACHE": sys.argv[2]}
Stager("nvme", user=this_process("r-1"), node="n0", environ=environ, say=say).stage(
    Path(sys.argv[1]), in_parts=False)
"""


@pytest.mark.parametrize("after", [1, 2, 4])
def test_an_owner_killed_in_mid_copy_leaves_no_torn_file_and_the_next_goes_on(
    node: Node, tmp_path: Path, after: int
) -> None:
    source = folder_of(tmp_path / "many", 24, 4 * MIB)
    argv = [sys.executable, "-c", STAGE, str(source), str(node.base)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        for _ in range(after):
            first.stdout.readline()
        first.send_signal(signal.SIGKILL)
    for one in node.sets():
        for file in one.present():
            assert one.copy(file).read_bytes() == one.listing.path(file).read_bytes()
    staged = node.stage(source)
    assert staged.tree is not None
    assert same(source, Path(staged.tree))
    assert not list(node.base.rglob("*.part"))
    assert staged.copied_bytes <= 96 * MIB


def test_a_set_that_a_run_takes_while_it_is_chosen_to_go_stays_within_the_limit(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(tmp_path / "node", "8M")
    node.stage(source, by=DEAD)
    let_go = CacheFolder.let_go

    def taken_first(cache: CacheFolder, key: str) -> bool:
        (one,) = (one for one in cache.sets() if one.key == key)
        assert one.use(this_process("other-2"), "n0")
        return let_go(cache, key)

    monkeypatch.setattr(CacheFolder, "let_go", taken_first)
    assert node.stage(folder_of(tmp_path / "second", 6)).tree is None
    assert node.taken_bytes() <= 8 * MIB


def test_a_folder_without_a_file_is_read_where_it_is(node: Node, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    found = node.stage(tmp_path / "none")
    assert (found.tree, found.why) == (None, "it holds no file")


def test_names_that_are_not_utf_8_are_staged_like_others(node: Node, tmp_path: Path) -> None:
    source = tmp_path / os.fsdecode(b"caf\xe9")
    source.mkdir()
    for name in (b"\xe9.txt", b"a\\xe9.txt", "é.txt".encode()):
        (source / os.fsdecode(name)).write_bytes(name)
    found = node.stage(source)
    assert found.tree is not None
    assert same(source, Path(found.tree))
    assert node.stage(source).copied_bytes == 0
    (one,) = node.sets()
    assert one.listing == list_source(source)
