"""Thrift's compact protocol, against bytes written by hand and footers written by pyarrow."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.data.formats.thrift import read_struct


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\x00", {}),
        (b"\x11\x12\x00", {1: True, 2: False}),
        (b"\x15\x02\x15\x03\x16\x80\x01\x00", {1: 1, 2: -2, 3: 64}),
        (b"\x05\x28\x02\x00", {20: 1}),
        (b"\x18\x02hi\x00", {1: b"hi"}),
        (b"\x19\x25\x02\x04\x00", {1: [1, 2]}),
        (b"\x19\xf1\x10" + b"\x01" * 16 + b"\x00", {1: [1] * 16}),
        (b"\x1b\x01\x58\x02\x01x\x15\x02\x00", {1: None, 2: 1}),
        (b"\x1b\x00\x15\x02\x00", {1: None, 2: 1}),
        (b"\x17" + bytes(8) + b"\x1c\x15\x02\x00\x00", {1: bytes(8), 2: {1: 1}}),
    ],
)
def test_a_struct_is_its_fields_by_number(data: bytes, found: object) -> None:
    assert read_struct(data) == found


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x15",
        b"\x18\x05hi",
        b"\x19\xf5\xff\xff\xff\x7f",
        b"\x1c" * 99,
        b"\x16" + b"\xff" * 11,
        b"\x1f\x00",
        b"\x1b\xff\xff\x03\x11\x01",
    ],
)
def test_what_is_no_struct_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_struct(data)


def test_a_footer_says_what_pyarrow_reads_in_it(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    columns = {"a": list(range(100)), "b": [random.Random(1).choice("xyz")] * 100}
    pq.write_table(pa.table(columns), path, row_group_size=30)
    wanted = pq.read_metadata(path)
    data = path.read_bytes()
    found = read_struct(data[-8 - int.from_bytes(data[-8:-4], "little") :])
    assert found[3] == wanted.num_rows == 100
    for number, group in enumerate(found[4]):
        assert group[3] == wanted.row_group(number).num_rows
        for place, column in enumerate(group[1]):
            pages = wanted.row_group(number).column(place)
            assert column[3][9] == pages.data_page_offset
            assert column[3].get(11) == pages.dictionary_page_offset
            assert column[3][7] == pages.total_compressed_size
