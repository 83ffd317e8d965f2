"""What is given out of units that are decoded as a whole and kept."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace import data


def rows_of(path: Path) -> None:
    rows = [{"x": [255.0, 1.0], "nested": {"of": [n]}, "list": ["a"]} for n in range(8)]
    pq.write_table(pa.Table.from_pylist(rows), path)


def lines_of(path: Path) -> None:
    line = b'{"x": [255.0, 1.0], "nested": {"of": [1]}, "list": ["a"]}\n'
    path.write_bytes(gzip.compress(line * 8))


def spoil(sample: dict[str, Any]) -> None:
    sample["x"][0] /= 255.0
    sample["nested"]["of"][0] = -1
    sample["list"].append("b")
    sample["nested"]["new"] = sample["new"] = True


@pytest.mark.parametrize(
    ("name", "write"), [("a.parquet", rows_of), ("a.jsonl.gz", lines_of)], ids=["parquet", "gzip"]
)
def test_a_sample_that_was_changed_in_place_comes_again_as_it_was_indexed(
    tmp_path: Path, name: str, write: Callable[[Path], None]
) -> None:
    write(tmp_path / name)
    data.index_path(tmp_path / name)
    dataset = data.open(tmp_path / name)
    first = repr(dataset[0])
    spoil(dataset[0])
    assert repr(dataset[0]) == first
