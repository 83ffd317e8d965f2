"""WebDataset tars, written by Python's tarfile."""

import io
import os
import tarfile
from pathlib import Path

import pytest
from tests.datasets import Written, read

from headrace.data.errors import DamagedData, IndexRefused
from headrace.data.formats.format import Options
from headrace.data.formats.tar import Tar


def write(path: Path, members: list[tuple[str, bytes]], layout: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=layout) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def samples(path: Path) -> list[dict[str, object]]:
    return read(Written("tar", path, []))


def damage(path: Path) -> str:
    with pytest.raises(DamagedData) as caught:
        list(Tar().scan(path, Options()).units)
    return caught.value.why


def test_neighbours_with_the_same_key_are_one_sample(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.tar",
        [
            ("d/a.jpg", b"1"),
            ("d/a.seg.PNG", b"2"),
            ("d/b.jpg", b"3"),
            ("a.jpg", b""),
            ("d/a.cls", b"4"),
        ],
    )
    assert samples(path) == [
        {"__key__": "d/a", "jpg": b"1", "seg.png": b"2"},
        {"__key__": "d/b", "jpg": b"3"},
        {"__key__": "a", "jpg": b""},
        {"__key__": "d/a", "cls": b"4"},
    ]


def test_what_has_no_key_is_no_part_of_a_sample(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, kind in (("d", tarfile.DIRTYPE), ("d/l.jpg", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "elsewhere"
            tar.addfile(info)
        for name in ("README", ".hidden", "__meta.json__", "a.jpg", "LICENSE", "a.txt"):
            info = tarfile.TarInfo(name)
            info.size = 2
            tar.addfile(info, io.BytesIO(b"hi"))
    assert samples(tmp_path / "x.tar") == [{"__key__": "a", "jpg": b"hi", "txt": b"hi"}]


@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_read_in_every_layout(layout: int, tmp_path: Path) -> None:
    name = "d" * 90 + "/" + "e" * 80
    path = write(tmp_path / "x.tar", [(f"{name}.a", b"1"), (f"{name}.b", b"2")], layout)
    assert samples(path) == [{"__key__": name, "a": b"1", "b": b"2"}]


def test_a_name_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe")
    path = write(tmp_path / "x.tar", [(f"{name}.jpg", b"1")], tarfile.GNU_FORMAT)
    assert samples(path) == [{"__key__": name, "jpg": b"1"}]


def test_shards_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b", "a", "Z"):
        write(tmp_path / f"{name}.tar", [(f"{name}.x", b"")])
    assert [sample["__key__"] for sample in samples(tmp_path)] == ["Z", "a", "b"]


@pytest.mark.parametrize("keep", [0, 100, 512, 1000, 1536, 2047])
def test_a_tar_that_was_cut_off_is_damaged(keep: int, tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", [("a.x", b"1" * 600), ("b.x", b"2")])
    os.truncate(path, keep)
    assert damage(path)


def test_a_tar_without_an_end_mark_was_cut_off(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", [("a.x", b"1"), ("b.x", b"2")])
    os.truncate(path, 1024)
    assert damage(path) == "it has no end mark, so it was cut off"


def test_a_header_with_a_flipped_bit_is_damaged(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", [("a.x", b"1")])
    data = bytearray(path.read_bytes())
    for place in (*range(155), *range(156, 512)):  # 155 pads the checksum
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        assert damage(path)


def test_tars_that_were_put_together_are_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "x.tar", [("a.x", b"1")]).read_bytes()
    (tmp_path / "x.tar").write_bytes(one + one)
    assert damage(tmp_path / "x.tar") == "something follows the end mark (tars put together?)"


def test_two_fields_of_the_same_name_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", [("a.x", b"1"), ("a.X", b"2")])
    assert damage(path) == "sample 'a' has two fields 'x'"


def test_a_field_that_would_hide_the_key_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", [("a.__key__", b"1")])
    assert damage(path) == "sample 'a' has two fields '__key__'"


def test_a_size_larger_than_the_file_allocates_nothing(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.x")
    info.size = 1 << 60
    path = tmp_path / "x.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert damage(path) == "it has 1536 bytes"


@pytest.mark.parametrize("name", ["x.tar.gz", "x.tgz", "x.tar"])
def test_a_compressed_tar_is_refused_with_what_to_do(name: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / name, "w:gz"):
        pass
    with pytest.raises(IndexRefused) as caught:
        list(Tar().scan(tmp_path / name, Options()).units)
    assert str(caught.value) == (
        f"error HR-DATA-010: {tmp_path / name}: a compressed tar has no samples that can be read "
        "one by one\n"
        "  why: everything before a sample would have to be unpacked first\n"
        "  fix: unpack it to a plain .tar (gunzip, unzstd): its images and sounds are compressed "
        "already"
    )
