"""MDS shards, written by the few lines of tests.datasets."""

import json
import random
import struct
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets import Written, mds_shard, plain, read, write_mds

from headrace.core.errors import HeadraceError
from headrace.data.errors import DamagedData, IndexRefused, NotADataset
from headrace.data.formats.format import Options
from headrace.data.formats.mds import Mds
from headrace.data.formats.mds_columns import column_of


def one_column(folder: Path, encoding: str, values: list[bytes]) -> Path:
    shard = mds_shard(folder / "shard.00000.mds", [[value] for value in values], {"c": encoding})
    (folder / "index.json").write_text(json.dumps({"version": 2, "shards": [shard]}))
    return folder


def change(folder: Path, **changes: object) -> None:
    """Overwrite fields of the first shard's entry."""
    index = json.loads((folder / "index.json").read_text())
    index["shards"][0].update(changes)
    (folder / "index.json").write_text(json.dumps(index))


def refusal(folder: Path) -> HeadraceError:
    with pytest.raises(HeadraceError) as caught:
        list(Mds().scan(folder, Options()).units)
    return caught.value


@pytest.mark.parametrize(
    ("encoding", "data", "value"),
    [
        ("str_float", b"1.5", 1.5),
        ("str_decimal", b"0.1", Decimal("0.1")),
        ("str_int", b"-7", -7),
        ("uint8", b"\xff", np.uint8(255)),
        ("int64", struct.pack("<q", -9), np.int64(-9)),
        ("float64", struct.pack("<d", 0.5), np.float64(0.5)),
        ("jpeg:90", b"\xff\xd8", b"\xff\xd8"),
        ("png", b"\x89PNG", b"\x89PNG"),
        ("ndarray:uint8:2", b"\1\2", np.array([1, 2], np.uint8)),
        ("ndarray", b"\x11\x05\x02\x00\x07\x00\x08\x00", np.array([7, 8], np.int16)),
        ("pil", struct.pack("<III", 2, 1, 1) + b"L\x01\x02", np.array([[1, 2]], np.uint8)),
        ("list[jpeg]", struct.pack("<IIII", 0, 2, 1, 2) + b"abc", [b"a", b"bc"]),
        ("jpeg_array", struct.pack("<III", 2, 0, 2) + b"bc", [b"", b"bc"]),
    ],
)
def test_a_column_is_decoded_as_it_is_encoded(encoding: str, data: bytes, value: object) -> None:
    assert plain(column_of(encoding)(data)) == plain(value)


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("ndarray", b""),
        ("ndarray", b"\x08\xff"),
        ("ndarray", b"\x08\x0b" + b"\xff" * 16),
        ("ndarray:uint8", b"\x04\x03\x01"),
        ("pil", b"123"),
        ("pil", struct.pack("<III", 1 << 31, 1 << 31, 1) + b"L"),
        ("int", b"1234567"),
        ("list[png]", struct.pack("<IIII", 0, 2, 1, 2) + b"abcd"),
        ("list[png]", struct.pack("<II", 0, 1 << 31)),
        ("list[png]", b""),
        ("json", b"[" * 100_000),
        ("str", b"\xff"),
        ("str_decimal", b"x"),
    ],
)
def test_a_column_that_is_not_what_it_says_is_damaged(
    encoding: str, data: bytes, tmp_path: Path
) -> None:
    decode = Mds().decoder({"columns": [["c", encoding, 0]]})
    sample = struct.pack("<I", len(data)) + data
    with pytest.raises(DamagedData):
        decode(memoryview(sample), "shard.00000.mds", 64)


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    error = refusal(one_column(tmp_path, "pkl", [b"cos\nsystem\n(S'exit'\ntR."]))
    assert isinstance(error, IndexRefused)
    assert error.why == "a pickle can run any program when it is read"


def test_a_shard_that_is_only_there_compressed_is_refused_with_what_to_do(tmp_path: Path) -> None:
    one_column(tmp_path, "str", [b"x"])
    (tmp_path / "shard.00000.mds").rename(tmp_path / "shard.00000.mds.zstd")
    change(tmp_path, compression="zstd", zip_data={"basename": "shard.00000.mds.zstd"})
    assert str(refusal(tmp_path)) == (
        f"error HR-DATA-010: {tmp_path}/shard.00000.mds.zstd: a compressed shard cannot be read "
        "sample by sample\n"
        "  why: the whole shard would have to be unpacked for one sample\n"
        "  fix: unpack all shards beside it (for zstd: unzstd shard.00000.mds.zstd -o "
        "shard.00000.mds)"
    )


@pytest.mark.parametrize("name", ["../x.mds", "/etc/passwd", "", "gone.mds", "a\0b", "\ud800"])
def test_a_shard_outside_of_the_folder_is_not_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.mds").write_bytes(b"secret")
    folder = tmp_path / "set"
    folder.mkdir()
    one_column(folder, "str", [b"x"])
    change(folder, raw_data={"basename": name, "bytes": 6, "hashes": {}})
    assert isinstance(refusal(folder), IndexRefused)


def test_a_hash_in_the_index_is_checked(tmp_path: Path) -> None:
    write_mds(tmp_path, random.Random(0), 10)
    shard = tmp_path / "shard.00001.mds"
    data = shard.read_bytes()
    shard.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    error = refusal(tmp_path)
    assert error.why == "its xxh64 is not that of the index"
    assert error.problem.startswith(f"{shard}: ")


@pytest.mark.parametrize("offsets", [(9, 1), (0, 0), (1 << 31, 1 << 31), (-1, 5)])
def test_offsets_that_overlap_or_lead_out_are_damaged(
    offsets: tuple[int, int], tmp_path: Path
) -> None:
    one_column(tmp_path, "bytes", [b"abc", b"def"])
    shard = tmp_path / "shard.00000.mds"
    data = bytearray(shard.read_bytes())
    begin, middle, end = struct.unpack("<III", data[4:16])
    data[4:16] = struct.pack("<III", begin, (middle + offsets[0]) % (1 << 32), end + offsets[1])
    shard.write_bytes(data)
    change(tmp_path, raw_data={"basename": shard.name, "bytes": len(data), "hashes": {}})
    if offsets == (0, 0):
        assert len(list(Mds().scan(tmp_path, Options()).units)) == 2
    else:
        assert refusal(tmp_path).why == "its offsets do not rise from its header to its end"


@pytest.mark.parametrize(
    "changes",
    [
        {"samples": 3},
        {"raw_data": {"basename": "shard.00000.mds", "bytes": 1, "hashes": {}}},
        {"column_names": ["other"]},
        {"column_sizes": [8]},
    ],
)
def test_an_index_that_says_other_than_the_shard_is_damaged(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    one_column(tmp_path, "str", [b"x", b"y"])
    change(tmp_path, **changes)
    assert isinstance(refusal(tmp_path), DamagedData)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"version": 2}',
        '{"version": 2, "shards": [1]}',
        "[" * 10_000,
        '{"version": 1, "shards": []}',
        '{"version": 2, "shards": [{"format": "csv"}]}',
    ],
)
def test_an_index_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(text)
    assert isinstance(refusal(tmp_path), NotADataset | DamagedData)


def test_the_index_alone_is_refused_with_what_to_give(tmp_path: Path) -> None:
    one_column(tmp_path, "str", [b"x"])
    assert Mds().claims(tmp_path / "index.json")
    assert str(refusal(tmp_path / "index.json")) == (
        f"error HR-DATA-010: {tmp_path}/index.json: holds no samples\n"
        "  why: the shards lie beside it\n"
        f"  fix: give the folder of both: {tmp_path}"
    )


def test_shards_with_different_columns_are_refused(tmp_path: Path) -> None:
    shards = [
        mds_shard(tmp_path / f"{number}.mds", [[b"x"]], {name: "str"})
        for number, name in enumerate("ab")
    ]
    (tmp_path / "index.json").write_text(json.dumps({"version": 2, "shards": shards}))
    assert refusal(tmp_path).why == "its shards have not the same columns"


def test_a_folder_without_samples_is_read_as_such(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"version": 2, "shards": []}')
    assert read(Written("mds", tmp_path, [])) == []
