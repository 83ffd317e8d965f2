"""MDS shards, written by the few lines of tests.datasets."""

import gzip
import json
import random
import struct
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from tests.datasets import Written, mds_shard, plain, read, write_mds

from headrace import data
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


def packed(folder: Path, data: bytes, **zip_data: object) -> Path:
    """Put ``data`` where the first shard was, as its compressed form."""
    one_column(folder, "str", [b"x", b"yz"])
    (folder / "shard.00000.mds").unlink()
    (folder / "shard.00000.mds.zst").write_bytes(data)
    zipped = {"basename": "shard.00000.mds.zst", "bytes": len(data), "hashes": {}} | zip_data
    change(folder, compression="zst:7", zip_data=zipped)
    return folder


def raw_shard(folder: Path) -> bytes:
    return (one_column(folder, "str", [b"x", b"yz"]) / "shard.00000.mds").read_bytes()


@pytest.mark.parametrize("pack", [zstandard.compress, gzip.compress])
def test_a_shard_that_is_only_there_compressed_is_one_unit(
    pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    packed(tmp_path, pack(raw_shard(tmp_path)))
    (unit,) = Mds().scan(tmp_path, Options()).units
    assert unit.rows == 2
    assert read(Written("mds", tmp_path, [])) == [{"c": "x"}, {"c": "yz"}]
    path = tmp_path / "set.hrindex"
    data.index_path(tmp_path, out=path)
    assert [data.open(path)[n]["c"] for n in (1, 0, 1)] == ["yz", "x", "yz"]


def test_compressed_and_plain_shards_lie_beside_one_another(tmp_path: Path) -> None:
    written = write_mds(tmp_path, random.Random(0), 10)
    index = json.loads((tmp_path / "index.json").read_text())
    raw = tmp_path / "shard.00001.mds"
    content = zstandard.compress(raw.read_bytes())
    raw.with_suffix(".mds.zstd").write_bytes(content)
    zipped = {"basename": "shard.00001.mds.zstd", "bytes": len(content), "hashes": {}}
    index["shards"][1]["zip_data"] = zipped
    (tmp_path / "index.json").write_text(json.dumps(index))
    assert len(list(Mds().scan(tmp_path, Options()).units)) == 10
    raw.unlink()
    assert len(list(Mds().scan(tmp_path, Options()).units)) == 5 + 1
    assert plain(read(written)) == plain(list(written.samples))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda raw: raw[:-1] + b"?", "its xxh64 is not that of the index"),
        (lambda raw: raw + b"more", "it has {} bytes; the index says"),
        (lambda raw: raw[:-1], "it has {} bytes; the index says"),
        (lambda raw: bytes(1 << 28), "it has {} bytes; the index says"),
        (lambda raw: b"", "it has {} bytes; the index says"),
    ],
)
def test_a_compressed_shard_that_does_not_hold_what_it_should_is_damaged(
    change: Callable[[bytes], bytes], why: str, tmp_path: Path
) -> None:
    held = change(raw_shard(tmp_path))
    error = refusal(packed(tmp_path, zstandard.compress(held)))
    assert error.why.startswith(why.format(len(held)))


def test_a_compressed_shard_of_another_size_or_hash_is_damaged(tmp_path: Path) -> None:
    content = zstandard.compress(raw_shard(tmp_path))
    assert "the index says 7" in refusal(packed(tmp_path, content, bytes=7)).why
    error = refusal(packed(tmp_path, content, hashes={"sha1": "00"}))
    assert error.why == "its sha1 is not that of the index"


def test_a_shard_that_is_compressed_in_another_way_is_refused_with_what_to_do(
    tmp_path: Path,
) -> None:
    assert str(refusal(packed(tmp_path, b"\x0b\x02\x80"))) == (
        f"error HR-DATA-010: {tmp_path}/shard.00000.mds.zst: a shard compressed by zst:7 is not "
        "read\n"
        "  why: gzip and Zstandard are unpacked here\n"
        "  fix: unpack all shards beside it, or write them with compression='zstd'"
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
