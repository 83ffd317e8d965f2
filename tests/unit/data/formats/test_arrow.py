"""Arrow IPC streams and files, written by pyarrow."""

import os
import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.datasets import Written, plain, read

from headrace.core.errors import HeadraceError
from headrace.data.errors import DamagedData, IndexRefused, NotADataset
from headrace.data.formats import tables
from headrace.data.formats.arrow import Arrow
from headrace.data.formats.format import Options

TABLE = pa.table({"a": list(range(10)), "s": [f"é{n}" for n in range(10)]})
ROWS = [{"a": n, "s": f"é{n}"} for n in range(10)]


def write(
    path: Path, table: pa.Table = TABLE, *, file: bool = False, compression: str | None = None
) -> Path:
    opened = pa.ipc.new_file if file else pa.ipc.new_stream
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with opened(path, table.schema, options=options) as stream:
        stream.write_table(table, max_chunksize=4)
    return path


def samples(path: Path) -> list[Any]:
    return read(Written("arrow", path, []))


def refusal(path: Path) -> HeadraceError:
    with pytest.raises(HeadraceError) as caught:
        Arrow().scan(path, Options())
    return caught.value


@pytest.mark.parametrize("file", [False, True])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_a_unit_is_a_record_batch(file: bool, compression: str | None, tmp_path: Path) -> None:
    path = write(tmp_path / "x.arrow", file=file, compression=compression)
    assert [unit.rows for unit in Arrow().scan(path, Options()).units] == [4, 4, 2]
    assert samples(path) == ROWS


@pytest.mark.parametrize("file", [False, True])
def test_dictionaries_are_kept_in_the_index(file: bool, tmp_path: Path) -> None:
    table = pa.table({"k": pa.array(["a", "b", None, "a", "b"]).dictionary_encode()})
    path = write(tmp_path / "x.arrow", table, file=file)
    assert samples(path) == [{"k": k} for k in ("a", "b", None, "a", "b")]


def test_dictionaries_that_change_are_refused_with_what_to_do(tmp_path: Path) -> None:
    batches = [pa.record_batch({"k": pa.array([k]).dictionary_encode()}) for k in "ab"]
    with pa.ipc.new_stream(tmp_path / "x.arrow", batches[0].schema) as stream:
        for batch in batches:
            stream.write_batch(batch)
    assert str(refusal(tmp_path / "x.arrow")) == (
        f"error HR-DATA-010: {tmp_path}/x.arrow: its dictionaries change, or take more than "
        "16777216 bytes\n"
        "  why: a batch must be read with nothing but the file's one set of dictionaries\n"
        "  fix: write the columns as plain values: cast dictionaries to their value type"
    )


def test_lists_of_numbers_are_arrays_that_own_their_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "x.arrow", pa.table({"ids": [[1, 2], [3], []]}))
    scan = Arrow().scan(path, Options())
    (unit,) = scan.units
    data = bytearray(path.read_bytes()[unit.start : unit.start + unit.size])
    rows = Arrow().decoder(scan.meta)(memoryview(data), ".", unit.start)
    data[:] = bytes(len(data))
    assert plain(rows) == [{"ids": ("int64", ids)} for ids in ([1, 2], [3], [])]


def test_files_with_different_columns_keep_their_own(tmp_path: Path) -> None:
    write(tmp_path / "a.arrow", pa.table({"a": [1]}))
    write(tmp_path / "b.arrow", pa.table({"b": ["x"]}))
    write(tmp_path / "c.arrow", pa.table({"a": [2]}))
    assert samples(tmp_path) == [{"a": 1}, {"b": "x"}, {"a": 2}]
    assert len(Arrow().scan(tmp_path, Options()).meta["prefixes"]) == 2


def test_empty_streams_hold_no_samples(tmp_path: Path) -> None:
    write(tmp_path / "a.arrow", pa.table({"a": pa.array([], pa.int64())}))
    write(tmp_path / "b.arrow", pa.table({}), file=True)
    assert samples(tmp_path) == []


@pytest.mark.parametrize("file", [False, True])
def test_any_cut_is_damaged(file: bool, tmp_path: Path) -> None:
    path = write(tmp_path / "x.arrow", file=file)
    data = path.read_bytes()
    for keep in range(0, len(data) - 1, 3):
        path.write_bytes(data[:keep])
        assert isinstance(refusal(path), DamagedData | NotADataset)


def test_offsets_of_strings_that_lead_out_never_reach_a_reader(tmp_path: Path) -> None:
    path = write(tmp_path / "x.arrow", pa.table({"s": ["abcdefgh"]}))
    data = path.read_bytes()
    before, _, after = data.rpartition(struct.pack("<ii", 0, 8))
    path.write_bytes(before + struct.pack("<ii", 0, 1 << 30) + after)
    with pytest.raises(DamagedData):
        samples(path)


def test_a_compressed_buffer_that_says_it_is_huge_is_refused_before_it_is_unpacked(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "x.arrow", pa.table({"s": ["x" * 100_000]}), compression="zstd")
    data = path.read_bytes()
    size, frame = struct.pack("<q", 100_000), b"\x28\xb5\x2f\xfd"
    assert data.count(size + frame) == 1
    path.write_bytes(data.replace(size + frame, struct.pack("<q", 1 << 50) + frame))
    assert isinstance(refusal(path), IndexRefused)


def test_rows_without_bytes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_ROWS", 3)
    assert isinstance(
        refusal(write(tmp_path / "x.arrow", pa.table({"n": pa.nulls(4)}))), IndexRefused
    )


def test_the_footer_of_a_file_must_list_its_batches(tmp_path: Path) -> None:
    path = write(tmp_path / "x.arrow", file=True)
    data = path.read_bytes()
    size = int.from_bytes(data[-10:-6], "little")
    footer = data[-10 - size :]
    other = write(tmp_path / "y.arrow", TABLE.slice(0, 3), file=True).read_bytes()
    size = int.from_bytes(other[-10:-6], "little")
    path.write_bytes(data[: -len(footer)] + other[-10 - size :])
    assert refusal(path).why == "its footer lists other record batches than it has"


def test_what_is_no_arrow_is_refused(tmp_path: Path) -> None:
    for data in (b"", b"ARROW1", b"FEA1" + bytes(50), os.urandom(100), b"\xff" * 100, bytes(64)):
        (tmp_path / "x.arrow").write_bytes(data)
        assert isinstance(refusal(tmp_path / "x.arrow"), DamagedData | NotADataset)
