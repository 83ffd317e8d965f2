"""What goes into a record comes back as it was, or is refused."""

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace import data
from headrace.data.errors import PackRefused
from headrace.data.records import RecordEncoder, Unstorable, decoder
from headrace.data.repack import pack_dataset


def again(value: object) -> object:
    encode = RecordEncoder()
    packed = encode({"field": value})
    decode = decoder(encode.meta())
    assert decode is not None
    return decode(memoryview(packed), "file", 0)[0]["field"]


@pytest.mark.parametrize(
    "value",
    [
        math.inf,
        -math.inf,
        -0.0,
        0.1,
        2**63,
        2**70,
        None,
        True,
        "text",
        [b"\xff\xd8", b""],
        {"bytes": b"\0\1", "inside": [{"more": b"x"}]},
        {1: "a"},
        [("key", 1)],
        (b"x", (1, 2)),
        Decimal("1.50"),
        [Decimal("1.50")],
        datetime(2024, 1, 31, 8, 0, 0, 1),
        datetime(2024, 1, 31, tzinfo=UTC),
        date(2024, 1, 31),
        time(8, 30),
        timedelta(days=-1, microseconds=5),
        [math.inf, 2**64 - 1, -(2**63)],
    ],
    ids=repr,
)
def test_a_value_comes_back_as_it_was(value: object) -> None:
    assert repr(again(value)) == repr(value).replace("datetime.UTC", "datetime.timezone.utc")
    assert again(value) == value


def test_what_is_no_number_comes_back_as_no_number() -> None:
    assert repr(again(math.nan)) == "nan"
    assert repr(again({"v": [math.nan, 1.0]})) == "{'v': [nan, 1.0]}"
    assert repr(again(np.float32(math.nan))) == "nan"


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        [b"", 2**64],
        [{1, 2}],
        ["\ud800"],
        ...,
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        np.datetime64(1, "ns"),
        np.array([None]),
    ],
    ids=repr,
)
def test_a_value_that_would_come_back_as_another_is_refused(value: object) -> None:
    with pytest.raises(Unstorable, match="field"):
        RecordEncoder()({"field": value})


def test_a_name_of_a_field_that_is_no_text_is_refused() -> None:
    with pytest.raises(Unstorable, match="the name of field 1 is no text"):
        RecordEncoder()({1: "a"})


def test_a_packed_parquet_file_has_the_values_of_the_file(tmp_path: Path) -> None:
    columns = {
        "f": [math.nan, math.inf, 1.5],
        "images": [[b"\xff\xd8a", b"b"], [b"c"], []],
        "t": pa.array([datetime(2024, 1, 1)] * 3),
        "exact": pa.array([Decimal("1.50")] * 3),
        "m": [{"b": b"\0\1", "v": math.nan}] * 3,
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    data.index_path(tmp_path / "a.parquet")
    source = data.open(tmp_path / "a.parquet")
    pack_dataset(source, tmp_path / "a.pack")
    packed = data.open(tmp_path / "a.pack")
    assert [repr(packed[n]) for n in range(3)] == [repr(source[n]) for n in range(3)]


def test_a_data_set_with_a_value_that_no_record_holds_is_not_packed(tmp_path: Path) -> None:
    when = pa.array([datetime(2024, 7, 1)], pa.timestamp("us", tz="Europe/Berlin"))
    pq.write_table(pa.table({"t": when}), tmp_path / "a.parquet")
    data.index_path(tmp_path / "a.parquet")
    with pytest.raises(PackRefused) as caught:
        pack_dataset(data.open(tmp_path / "a.parquet"), tmp_path / "a.pack")
    assert str(caught.value).startswith(
        "error HR-DATA-004: sample 0 cannot be packed\n"
        "  why: field t holds a value of type datetime: datetime.datetime(2024, 7, 1, 2, 0"
    )
    assert not (tmp_path / "a.pack").exists()
