"""Parquet, written by pyarrow."""

import datetime as dt
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.datasets import Written, plain, read, taken

from headrace.core.errors import HeadraceError
from headrace.data.errors import DamagedData, IndexRefused, NotADataset, PackageMissing
from headrace.data.formats import tables
from headrace.data.formats.format import Options, Unit
from headrace.data.formats.parquet import Parquet


def write(path: Path, columns: dict[str, Any], **options: object) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def samples(path: Path) -> list[Any]:
    return read(Written("parquet", path, []))


def refusal(path: Path) -> HeadraceError:
    with pytest.raises(HeadraceError) as caught:
        Parquet().scan(path, Options())
    return caught.value


def test_a_unit_is_a_row_group_and_a_sample_is_a_row(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", {"a": list(range(10))}, row_group_size=4)
    scan = Parquet().scan(path, Options())
    assert [unit.rows for unit in scan.units] == [4, 4, 2]
    assert samples(path) == [{"a": number} for number in range(10)]


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "lz4"])
def test_every_compression_and_page_is_read(compression: str, version: str, tmp_path: Path) -> None:
    columns = {"s": [f"{n % 7}" for n in range(500)], "x": [n / 3 for n in range(500)]}
    path = write(
        tmp_path / "x.parquet",
        columns,
        compression=compression,
        data_page_version=version,
        row_group_size=100,
        data_page_size=64,
        write_page_index=True,
    )
    assert samples(path) == [{"s": f"{n % 7}", "x": n / 3} for n in range(500)]


def test_values_of_every_kind_come_back(tmp_path: Path) -> None:
    day = dt.datetime(2026, 1, 2, 3, 4, 5, 678)
    nanoseconds = pa.array([1, None], pa.timestamp("ns"))
    columns = {
        "ids": pa.array([[1, 2], []], pa.list_(pa.int32())),
        "gaps": pa.array([[1, None], None], pa.list_(pa.int8())),
        "some": pa.array([None, [5]], pa.large_list(pa.float32())),
        "fixed": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float16(), 2)),
        "when": pa.array([day, None], pa.timestamp("us")),
        "exact": nanoseconds,
        "map": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
        "kind": pa.array(["a", None]).dictionary_encode(),
        "none": pa.nulls(2),
    }
    first, second = samples(write(tmp_path / "x.parquet", columns))
    assert plain(first) == {
        "ids": ("int32", [1, 2]),
        "gaps": [1, None],
        "some": None,
        "fixed": ("float16", [1.0, 2.0]),
        "when": day,
        "exact": 1,
        "map": [("k", 1)],
        "kind": "a",
        "none": None,
    }
    assert plain(second) == {
        "ids": ("int32", []),
        "gaps": None,
        "some": ("float32", [5.0]),
        "fixed": ("float16", [3.0, 4.0]),
        "when": None,
        "exact": None,
        "map": [],
        "kind": None,
        "none": None,
    }


def test_rows_do_not_refer_to_the_bytes_they_came_from(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", {"a": [[1, 2]]}, compression="none", use_dictionary=False)
    scan = Parquet().scan(path, Options())
    unit = next(iter(scan.units))
    data = bytearray(path.read_bytes()[unit.start : unit.start + unit.size])
    (row,) = Parquet().decoder(scan.meta)(memoryview(data), ".", unit.start)
    data[:] = bytes(len(data))
    assert np.array_equal(row["a"], [1, 2])


def test_a_decoder_sees_nothing_but_the_footer_of_the_index_and_the_bytes_it_is_given(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "x.parquet", {"a": list(range(10))}, row_group_size=5)
    scan = Parquet().scan(path, Options())
    _, second = taken(path, scan, list(scan.units))
    start = list(scan.units)[1].start
    path.unlink()
    decode = Parquet().decoder(scan.meta)
    assert decode(memoryview(second), ".", start) == [{"a": n} for n in range(5, 10)]
    with pytest.raises(DamagedData):
        decode(memoryview(second[:-9]), ".", start)


def test_a_page_that_was_damaged_before_it_was_indexed_is_found_by_its_own_checksum(
    tmp_path: Path,
) -> None:
    path = write(
        tmp_path / "x.parquet",
        {"a": list(range(1000))},
        compression="none",
        use_dictionary=False,
        write_page_checksum=True,
    )
    unit = next(iter(Parquet().scan(path, Options()).units))
    data = bytearray(path.read_bytes())
    data[unit.start + unit.size // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedData):
        samples(path)


def test_empty_files_hold_no_samples(tmp_path: Path) -> None:
    write(tmp_path / "rows.parquet", {"a": pa.array([], pa.int64())})
    pq.write_table(pa.table({}), tmp_path / "columns.parquet")
    assert samples(tmp_path) == []


@pytest.mark.parametrize("keep", [0, 3, 11, 100, -1, -8])
def test_a_file_that_was_cut_off_is_refused(keep: int, tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", {"a": list(range(100))})
    os.truncate(path, keep % path.stat().st_size)
    assert isinstance(refusal(path), DamagedData | NotADataset)


def test_a_row_group_with_too_many_rows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MOST_ROWS", 99)
    path = write(tmp_path / "x.parquet", {"a": [7] * 100})
    assert "row group 0 has 100 rows" in refusal(path).problem


def test_columns_that_python_cannot_hold_are_refused(tmp_path: Path) -> None:
    times = pa.array([[1]], pa.list_(pa.timestamp("ns")))
    path = write(tmp_path / "x.parquet", {"t": times})
    assert isinstance(refusal(path), IndexRefused)


def test_an_encrypted_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PARE" + bytes(20) + b"PARE")
    assert refusal(tmp_path / "x.parquet").why == "it is an encrypted Parquet file"


def test_without_pyarrow_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "x.parquet", {"a": [1]})
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(PackageMissing) as caught:
        Parquet().scan(path, Options())
    assert str(caught.value) == (
        "error HR-DATA-011: Parquet cannot be read without the package pyarrow\n"
        "  why: pyarrow is not installed in this Python\n"
        "  fix: pip install 'headrace[data]'"
    )


def test_names_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", {"a": [1]}).rename(tmp_path / os.fsdecode(b"\xff.parquet"))
    write(tmp_path / "\\xff.parquet", {"a": [2]})
    assert samples(tmp_path) == [{"a": 2}, {"a": 1}]


def test_a_unit_is_where_its_pages_are(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", {"a": [1] * 50, "b": ["x"] * 50}, row_group_size=25)
    units = list(Parquet().scan(path, Options()).units)
    assert units[0] == Unit(0, 4, units[1].start - 4, 25)
