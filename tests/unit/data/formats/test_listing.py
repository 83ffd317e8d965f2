"""Which files are found, and which never are."""

import os
import socket
from pathlib import Path

import pytest

from headrace.data.errors import IndexRefused, NotADataset
from headrace.data.formats.listing import any_of, inside, legible, listing
from headrace.data.formats.source import Source


def test_names_are_ordered_as_bytes_whatever_the_file_system_says(tmp_path: Path) -> None:
    names = ["b.x", "a/z.x", "B.X", "é.x", os.fsdecode(b"\xff.x"), "a.x", "a/.hidden.x"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = listing(tmp_path, (".x",))
    assert found == ["B.X", "a.x", "a/z.x", "b.x", "é.x", os.fsdecode(b"\xff.x")]


def test_a_glob_chooses_by_the_name_below_the_folder(tmp_path: Path) -> None:
    for name in ("train/a.x", "train/b.y", "test/a.x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert listing(tmp_path, (".x",), "train/*") == ["train/a.x", "train/b.y"]
    with pytest.raises(NotADataset, match="not a data set"):
        listing(tmp_path, (".x",), "*.z")


def test_indexes_beside_the_data_are_no_data(tmp_path: Path) -> None:
    for name in ("a.x", "a.x.hrindex", ".hrindex"):
        (tmp_path / name).touch()
    assert listing(tmp_path, (), "*") == ["a.x"]


def test_pipes_sockets_loops_and_broken_links_are_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.x")
    (tmp_path / "loop.x").symlink_to("loop.x")
    (tmp_path / "gone.x").symlink_to("nowhere")
    (tmp_path / "self").symlink_to(".")
    (tmp_path / "a.x").touch()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.x"))
        assert listing(tmp_path, (".x",)) == ["a.x"]
    with pytest.raises(IndexRefused):
        Source(tmp_path / "pipe.x")


def test_a_link_that_leads_out_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "set" / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(IndexRefused) as caught:
        listing(tmp_path / "set", (".x",))
    assert str(caught.value) == (
        f"error HR-DATA-010: {tmp_path}/set/link: leads out of the folder\n"
        f"  why: it is a link to {tmp_path}/outside, which is not below {tmp_path}/set\n"
        "  fix: index the folder that holds both, or copy the file in"
    )
    assert not any_of(tmp_path / "set", (".x",))


def test_a_folder_deeper_than_python_recurses_is_walked(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("a.x", os.O_CREAT, dir_fd=here))
    os.close(here)
    found = listing(tmp_path, (".x",))
    os.unlink(tmp_path / ("d/" * 1500) / "a.x")
    for depth in range(1500, 0, -1):
        os.rmdir(tmp_path / ("d/" * depth))
    assert found == ["d/" * 1500 + "a.x"]


@pytest.mark.parametrize("name", ["", "..", "../x", "/etc/passwd", "a\0", "\ud800", "gone"])
def test_no_name_from_a_file_leads_out(name: str, tmp_path: Path) -> None:
    assert not inside(tmp_path, name)


def test_different_names_stay_different_when_they_are_legible() -> None:
    names = [os.fsdecode(b"\xff"), "\\xff", "\\\\xff", "é"]
    assert len({legible(name) for name in names}) == 4
    assert legible("a/é.tar") == "a/é.tar"
