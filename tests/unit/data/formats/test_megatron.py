"""Megatron's .bin and .idx, written by the few lines of tests.datasets."""

import random
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets import Written, megatron_index, plain, read, write_megatron

from headrace.core.errors import HeadraceError
from headrace.data.errors import DamagedData, NotADataset
from headrace.data.formats.format import Options, Scan
from headrace.data.formats.megatron import TYPES, Megatron


def pair(folder: Path, lengths: list[int], dtype: str = "uint16", name: str = "x") -> Path:
    codes = {kind: code for code, kind in TYPES.items()}
    tokens = np.arange(sum(lengths)).astype(dtype)
    tokens.tofile(folder / f"{name}.bin")
    megatron_index(folder / f"{name}.idx", codes[dtype], tokens.itemsize, lengths)
    return folder


def refusal(path: Path, window: int | None = 2, vocab: int | None = None) -> HeadraceError:
    with pytest.raises(HeadraceError) as caught:
        list(Megatron().scan(path, Options(window=window, vocab=vocab)).units)
    return caught.value


def samples(path: Path, window: int | None = None) -> list[Any]:
    return read(Written("megatron", path, [], Options(window=window)))


@pytest.mark.parametrize("dtype", sorted(TYPES.values()))
def test_without_a_window_a_sequence_is_a_sample_and_empty_ones_are_none(
    dtype: str, tmp_path: Path
) -> None:
    pair(tmp_path, [2, 0, 3], dtype)
    assert plain(samples(tmp_path)) == [(dtype, [0, 1]), (dtype, [2, 3, 4])]


def test_the_index_alone_is_refused_with_what_to_give(tmp_path: Path) -> None:
    pair(tmp_path, [5, 4])
    assert Megatron().claims(tmp_path / "x.idx")
    assert str(refusal(tmp_path / "x.idx")) == (
        f"error HR-DATA-010: {tmp_path}/x.idx: holds no tokens\n"
        "  why: tokens lie in a .bin that has an .idx beside it\n"
        f"  fix: give the .bin, or the folder of both: {tmp_path}/x.bin"
    )


@pytest.mark.parametrize("name", [".", "x.bin"])
def test_the_folder_and_the_tokens_name_the_same_samples(name: str, tmp_path: Path) -> None:
    pair(tmp_path, [5, 4])
    assert Megatron().claims(tmp_path / name)
    rows = [("uint16", [n, n + 1, n + 2]) for n in (0, 2, 4, 6)]
    assert plain(samples(tmp_path / name, 2)) == rows


@pytest.mark.parametrize("glob", ["a*", "a.bin", "a.idx", "[a]*"])
def test_a_glob_may_name_either_file_of_a_pair(glob: str, tmp_path: Path) -> None:
    pair(tmp_path, [2], name="a")
    pair(tmp_path, [3], name="b")
    options = Options(glob=glob)
    assert plain(read(Written("megatron", tmp_path, [], options))) == [("uint16", [0, 1])]
    with pytest.raises(NotADataset):
        Megatron().scan(tmp_path, Options(glob="c*"))


def test_windows_never_cross_files(tmp_path: Path) -> None:
    pair(tmp_path, [5], name="a")
    pair(tmp_path, [4], name="b")
    rows = [("uint16", row) for row in ([0, 1, 2], [2, 3, 4], [0, 1, 2])]
    assert plain(samples(tmp_path, 2)) == rows


def test_signed_tokens_are_given_out_unsigned(tmp_path: Path) -> None:
    scan: Scan = Megatron().scan(pair(tmp_path, [7], "int32"), Options(window=2))
    assert scan.meta["tokens"] == {"dtype": "<u4", "window": 2, "vocab": 7}


def test_a_negative_token_is_damaged(tmp_path: Path) -> None:
    pair(tmp_path, [7], "int32")
    np.array([0, 1, 2, -1, 4, 5, 6], np.int32).tofile(tmp_path / "x.bin")
    assert refusal(tmp_path).why == "a token is negative"


def test_a_token_that_is_not_below_the_vocabulary_is_refused(tmp_path: Path) -> None:
    assert str(refusal(pair(tmp_path, [7]), vocab=6)) == (
        f"error HR-DATA-010: {tmp_path}/x.bin: token 6 is not below the vocabulary of 6\n"
        "  why: it was read as uint16; the type or the vocabulary is another\n"
        "  fix: give the --dtype and --vocab of the tokenizer that wrote it"
    )


def test_floats_have_no_windows(tmp_path: Path) -> None:
    assert isinstance(refusal(pair(tmp_path, [7], "float32")), NotADataset)


def test_files_of_different_types_are_refused(tmp_path: Path) -> None:
    pair(tmp_path, [3], "uint16", "a")
    pair(tmp_path, [3], "int32", "b")
    assert refusal(tmp_path).why == "its tokens are int32; those of a.idx are uint16"


def test_an_index_without_its_tokens_is_refused(tmp_path: Path) -> None:
    pair(tmp_path, [3])
    (tmp_path / "x.bin").unlink()
    assert refusal(tmp_path).why == "x.bin is not beside it"


@pytest.mark.parametrize(
    ("place", "field", "why"),
    [
        (34, struct.pack("<i", -1), "a sequence has a negative length"),
        (34, struct.pack("<i", 4), "its sequences do not follow each other"),
        (46, struct.pack("<q", 2), "its sequences do not follow each other"),
        (54, struct.pack("<q", -6), "its sequences do not follow each other"),
        (54, struct.pack("<q", 1 << 62), "its sequences do not follow each other"),
        (70, struct.pack("<q", 1), "its documents are not made of its sequences"),
        (78, struct.pack("<q", 9), "its documents are not made of its sequences"),
    ],
)
def test_an_index_that_contradicts_itself_is_damaged(
    place: int, field: bytes, why: str, tmp_path: Path
) -> None:
    pair(tmp_path, [3, 3, 1])
    data = bytearray((tmp_path / "x.idx").read_bytes())
    data[place : place + len(field)] = field
    (tmp_path / "x.idx").write_bytes(data)
    assert refusal(tmp_path).why == why


@pytest.mark.parametrize("counts", [(1 << 62, 4), (3, 1 << 62), (2, 4), ((1 << 64) - 1, 0)])
def test_counts_that_the_file_has_no_room_for_allocate_nothing(
    counts: tuple[int, int], tmp_path: Path
) -> None:
    pair(tmp_path, [3, 3, 1])
    data = bytearray((tmp_path / "x.idx").read_bytes())
    data[18:34] = struct.pack("<QQ", *counts)
    (tmp_path / "x.idx").write_bytes(data)
    assert isinstance(refusal(tmp_path), DamagedData)


def test_tokens_of_another_length_than_the_index_says_are_damaged(tmp_path: Path) -> None:
    pair(tmp_path, [3, 3])
    with (tmp_path / "x.bin").open("ab") as stream:
        stream.write(b"12")
    assert refusal(tmp_path).why == "it has 14 bytes; x.idx says 12"


@pytest.mark.parametrize("head", [b"", b"MMIDIDX\0\0", b"TNTIDX\0\0" + bytes(40), bytes(40)])
def test_what_is_no_index_is_refused(head: bytes, tmp_path: Path) -> None:
    pair(tmp_path, [3])
    (tmp_path / "x.idx").write_bytes(head)
    assert isinstance(refusal(tmp_path), NotADataset | DamagedData)


def test_a_multimodal_index_is_read_without_its_modes(tmp_path: Path) -> None:
    pair(tmp_path, [2, 1])
    with (tmp_path / "x.idx").open("ab") as stream:
        stream.write(b"\0\1")
    assert plain(samples(tmp_path)) == [("uint16", [0, 1]), ("uint16", [2])]


def test_a_link_to_tokens_elsewhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    pair(tmp_path / "set", [3])
    shutil.move(tmp_path / "set" / "x.bin", tmp_path / "x.bin")
    (tmp_path / "set" / "x.bin").symlink_to(tmp_path / "x.bin")
    assert refusal(tmp_path / "set").problem.endswith("set/x.bin: leads out of the folder")


def test_a_pair_of_any_size_has_all_its_windows(tmp_path: Path) -> None:
    written = write_megatron(tmp_path, random.Random(3), 100)
    assert plain(read(written)) == plain(list(written.samples))
