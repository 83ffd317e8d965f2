"""What the cache folder does when its owner dies, or when a run comes in the last moment."""

import os
from pathlib import Path

import pytest

from headrace.core.process import Process, boot_id
from headrace.data.cache.folder import MARKER, CachedSet, CacheFolder, open_folder
from headrace.data.cache.listing import list_source
from headrace.data.cache.owner import holder, this_process
from headrace.data.cache.stage import Stager

ENDED = holder(Process(boot_id=boot_id(), pid=1, start_ticks=0), "ended-1")
LIVING = this_process("living-1")


@pytest.fixture
def cache(tmp_path: Path) -> CacheFolder:
    source = tmp_path / "corpus"
    source.mkdir()
    (source / "file").write_bytes(b"data")
    environ = {"HEADRACE_CACHE": str(tmp_path)}
    Stager("nvme", user=ENDED, node="n0", environ=environ).stage(source, in_parts=False)
    return open_folder(tmp_path)


def only(cache: CacheFolder) -> CachedSet:
    (one,) = cache.sets()
    return one


def test_a_set_that_a_dead_owner_was_letting_go_goes(cache: CacheFolder) -> None:
    one = only(cache)
    os.rename(one.root, one.root.with_name(f".{one.key}.77"))
    assert list(cache.sets()) == []
    assert not one.use(LIVING, "n0")
    cache.sweep()
    assert list((cache.root / "sets").iterdir()) == []


def test_a_set_that_a_dead_owner_was_letting_go_comes_back_to_who_took_it_before(
    cache: CacheFolder,
) -> None:
    one = only(cache)
    assert one.use(LIVING, "n0")
    os.rename(one.root, one.root.with_name(f".{one.key}.77"))
    cache.sweep()
    assert only(cache).present() == list(one.listing.files)


def test_a_run_that_comes_while_a_set_is_let_go_keeps_it(
    cache: CacheFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = only(cache)
    rename = os.rename

    def comes_first(old: Path, new: Path) -> None:
        monkeypatch.setattr(os, "rename", rename)
        assert one.use(LIVING, "n0")
        rename(old, new)

    monkeypatch.setattr(os, "rename", comes_first)
    assert not cache.let_go(one.key)
    assert only(cache).present() == list(one.listing.files)


def test_what_is_let_go_leaves_nothing_and_the_source_alone(cache: CacheFolder) -> None:
    one = only(cache)
    assert cache.let_go(one.key)
    assert list((cache.root / "sets").iterdir()) == []
    source = Path(one.listing.source)
    assert list_source(source) == one.listing


def test_a_manifest_that_speaks_of_another_folder_is_none_of_ours(cache: CacheFolder) -> None:
    one = only(cache)
    foreign = cache.root / "sets" / "0123"
    one.root.rename(foreign)
    assert list(cache.sets()) == []
    assert not cache.let_go("0123")
    cache.sweep()
    assert (foreign / "tree" / "file").exists()


def test_users_that_have_ended_are_forgotten_by_those_that_come(cache: CacheFolder) -> None:
    one = only(cache)
    for number in range(3):
        assert one.use(holder(ENDED.process, f"ended-{number}"), "n0")
    assert one.use(LIVING, "n0")
    assert [path.name for path in (one.root / "users").iterdir()] == ["living-1.n0.json"]


def test_two_that_use_a_cache_first_at_once_both_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exists = Path.exists

    def meanwhile(path: Path) -> bool:
        found = exists(path)
        if path.name == MARKER:
            monkeypatch.setattr(Path, "exists", exists)
            open_folder(tmp_path)
        return found

    monkeypatch.setattr(Path, "exists", meanwhile)
    assert list(open_folder(tmp_path).sets()) == []
