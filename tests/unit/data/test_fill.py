"""What is given out of units that are decoded as a whole and kept."""

import gzip
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace import data
from headrace.data.buffers import Buffers
from headrace.data.fill import FillGroups
from headrace.data.formats import parquet, registry


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


def test_threads_that_need_one_unit_decode_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": list(range(400))}), path, row_group_size=100)
    data.index_path(path)
    decode, decoded = parquet._rows, []

    def slow(metadata: object, number: int, data: memoryview, path: Path, start: int) -> object:
        decoded.append(number)
        time.sleep(0.02)
        return decode(metadata, number, data, path, start)

    monkeypatch.setattr(parquet, "_rows", slow)
    reading = data.Reading(threads=4)
    order = data.Blocks(block=100, window=1)
    dataset = data.open(path)
    with data.batches(
        dataset, global_batch=10, seed=1, order=order, epochs=1, reading=reading
    ) as batches:
        assert sum(len(batch.samples) for batch in batches) == 400
    assert sorted(decoded) == [0, 1, 2, 3]


def test_a_unit_that_failed_to_decode_in_one_thread_is_not_waited_for_for_ever(
    tmp_path: Path,
) -> None:
    rows_of(tmp_path / "a.parquet")
    data.index_path(tmp_path / "a.parquet")
    dataset = data.open(tmp_path / "a.parquet")
    failing = iter([True])

    def decode(memory: memoryview, name: str, start: int) -> list[int]:
        if next(failing, False):
            raise MemoryError
        return [1] * 8

    fill = FillGroups(dataset.files, decode)
    places = dataset.find(np.arange(8))
    with pytest.raises(MemoryError):
        fill(places, Buffers(most=0))
    assert fill(places, Buffers(most=0)).samples == [1] * 8


def test_kept_units_take_no_more_memory_than_they_may(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    line = b'{"ids": [' + b"1000, " * 200 + b"1]}\n"
    path.write_bytes(b"".join(gzip.compress(line * 100) for _ in range(20)))
    data.index_path(path)
    dataset = data.open(path)
    decode = registry.of_name(dataset.index.format).decoder(dataset.meta)
    fill = FillGroups(dataset.files, decode, cache_bytes=4 << 20)
    places = dataset.find(np.arange(0, len(dataset), 100))
    tracemalloc.start()
    try:
        assert len(fill(places, Buffers(most=0)).samples) == 20
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held_bytes < 8 << 20
