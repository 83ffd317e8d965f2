"""The promises of an index: what was added is found, wherever blocks end, with any cache."""

import io
import random
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.data.index import Index
from headrace.data.index_writer import IndexWriter
from headrace.data.records import RecordEncoder, decoder
from headrace.data.units import Columns, Units, decode_units, encode_units

U64 = st.integers(0, 2**63 - 1)
unit = st.tuples(st.integers(0, 3), U64, U64, st.integers(1, 4), st.integers(0, 2**64 - 1))
spaced = st.builds(
    lambda start, stride, size, count: [(1, start + n * stride, size, 1, n) for n in range(count)],
    st.integers(0, 2**40), st.integers(0, 2**20), st.integers(0, 2**20), st.integers(1, 600),
)  # fmt: skip
single = unit.map(lambda row: (*row[:3], 1, row[4]))
tables = st.one_of(
    spaced,
    st.lists(unit, min_size=1, max_size=700),
    st.lists(single, min_size=1, max_size=700),
)


def columns(rows: list[tuple[int, int, int, int, int]]) -> Columns:
    kinds = (np.int64, np.int64, np.int64, np.int64, np.uint64)
    return Columns(
        *(
            np.array(column, kind)
            for column, kind in zip(zip(*rows, strict=True), kinds, strict=True)
        )
    )


@given(tables.map(lambda rows: rows[:256]))
def test_a_block_of_units_comes_back_as_it_was(rows: list[tuple[int, int, int, int, int]]) -> None:
    units = columns(rows)
    for before, after in zip(units, decode_units(encode_units(units)), strict=True):
        assert before.tolist() == after.tolist()


@given(tables, st.integers(1, 300), st.randoms(use_true_random=False))
def test_every_sample_is_found_in_its_unit(
    rows: list[tuple[int, int, int, int, int]], portion: int, rng: random.Random
) -> None:
    with tempfile.TemporaryDirectory() as folder, IndexWriter(Path(folder)) as writer:
        for first in range(0, len(rows), portion):
            writer.add(columns(rows[first : first + portion]))
        out = io.BytesIO()
        writer.finish(out, meta={"format": "x"}, files=[("a", 1)])
        path = Path(folder) / "index"
        path.write_bytes(out.getvalue())
        index = Index(path)
        expected = [(n, row, *unit) for n, unit in enumerate(rows) for row in range(unit[3])]
        assert index.header.samples == len(expected)
        wanted = rng.sample(range(len(expected)), min(len(expected), 400))
        small = Units(
            index._units, units=len(rows), samples=len(expected), cache_bytes=0, least_blocks=1
        )
        found = index.units.find(np.array(wanted, np.int64))
        again = small.find(np.array(wanted, np.int64))
        assert [column.tolist() for column in again] == [column.tolist() for column in found]
        for number, *place in zip(wanted, *(column.tolist() for column in found), strict=True):
            at, row, file, start, size, _, digest = expected[number]
            assert place == [at, row, file, start, size, digest]
        index.close()


values = st.one_of(
    st.binary(max_size=40),
    st.text(st.characters(), max_size=20),
    st.integers(-(2**53), 2**53),
    st.none(),
    st.booleans(),
    st.lists(st.integers(0, 9), max_size=5),
    st.floats(allow_nan=False),
    st.lists(st.one_of(st.binary(max_size=5), st.floats(allow_nan=False)), max_size=3),
    st.dictionaries(st.text(max_size=5), st.tuples(st.binary(max_size=5), st.datetimes())),
)


@given(st.lists(st.dictionaries(st.text(max_size=5), values, max_size=6), min_size=1, max_size=5))
def test_records_come_back_as_they_were(samples: list[dict[str, object]]) -> None:
    encode = RecordEncoder()
    encoded = [encode(sample) for sample in samples]
    decode = decoder(encode.meta())
    assert decode is not None
    for data, sample in zip(encoded, samples, strict=True):
        assert decode(memoryview(data), ".", 0)[0] == sample
