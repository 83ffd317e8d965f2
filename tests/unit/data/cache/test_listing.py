"""A source by its files."""

import os
from pathlib import Path

import pytest

from headrace.data.cache.errors import SourceMissing
from headrace.data.cache.listing import list_source


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    (folder / "deep" / "er").mkdir(parents=True)
    for name in ("b", "a", "deep/er/c"):
        (folder / name).write_bytes(name.encode())
    return folder


def test_a_folder_is_all_its_files_in_the_order_of_their_names(source: Path) -> None:
    found = list_source(source)
    assert [file.name for file in found.files] == ["a", "b", "deep/er/c"]
    assert found.is_folder
    assert found.size_bytes == 11


def test_a_file_is_itself(source: Path) -> None:
    found = list_source(source / "a")
    assert ([file.name for file in found.files], found.is_folder) == (["a"], False)
    assert found.path(found.files[0]) == source / "a"


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "a").write_bytes(b"longer"),
        lambda folder: os.utime(folder / "a", ns=(0, 1)),
        lambda folder: (folder / "new").touch(),
        lambda folder: (folder / "b").unlink(),
        lambda folder: (folder / "b").rename(folder / "d"),
    ],
)
def test_any_change_of_a_file_changes_the_fingerprint(source: Path, change: object) -> None:
    before = list_source(source).fingerprint
    assert list_source(source).fingerprint == before
    assert callable(change)
    change(source)
    assert list_source(source).fingerprint != before


def test_links_are_followed_and_those_in_a_circle_or_to_nowhere_are_left_out(
    source: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "x").write_bytes(b"x")
    (source / "link").symlink_to(other)
    (source / "deep" / "back").symlink_to(source)
    (source / "gone").symlink_to(tmp_path / "nowhere")
    (source / "loop").symlink_to("loop")
    os.mkfifo(source / "pipe")
    names = [file.name for file in list_source(source).files]
    assert names == ["a", "b", "deep/er/c", "link/x"]


def test_a_source_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing) as caught:
        list_source(tmp_path / "no")
    assert str(caught.value) == (
        f"error HR-CACHE-001: {tmp_path}/no: no data to stage\n"
        f"  why: {tmp_path}/no: no such file or directory\n"
        "  fix: give data.source a file or folder that each node of the run can read"
    )
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceMissing, match="no data to stage"):
        list_source(tmp_path / "pipe")
