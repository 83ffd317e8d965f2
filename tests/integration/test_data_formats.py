"""Every format the whole way: indexed in place, opened, read in batches, resized, damaged."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets import WRITERS, Written, plain

from headrace import data
from headrace.core.errors import HeadraceError
from headrace.data.dataset import Dataset

SAMPLES = 30
READING = data.Reading(threads=0)


@pytest.fixture(params=WRITERS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Written:
    folder = tmp_path / "set"
    folder.mkdir()
    written: Written = WRITERS[request.param](folder, random.Random(7), SAMPLES)
    data.index_path(written.path, options=written.options)
    return written


def all_samples(dataset: Dataset) -> list[object]:
    return [plain(sample) for sample in dataset.read(np.arange(len(dataset)))]


def wanted(written: Written) -> list[object]:
    return [plain(sample) for sample in written.samples]


def test_every_sample_is_what_was_written(written: Written) -> None:
    dataset = data.open(written.path)
    assert dataset.index.format == written.format
    assert all_samples(dataset) == wanted(written)
    with data.batches(dataset, global_batch=7, seed=1) as batches:
        for _ in range(2 * len(dataset) // 7):
            batch = next(batches)
            expected = [plain(written.samples[index]) for index in batch.indices]
            assert [plain(sample) for sample in batch.samples] == expected


def joined(
    dataset: Dataset, state: data.State | None, world: int, steps: int
) -> tuple[list[object], data.State]:
    """The global batches of some steps, and where all ranks then are."""
    asked: dict[str, Any] = {"global_batch": 12, "seed": 5, "world": world, "reading": READING}
    ranks = [
        data.batches(dataset, rank=rank, **asked)
        if state is None
        else data.resume(dataset, state, rank=rank, **asked)
        for rank in range(world)
    ]
    order: list[object] = []
    for _ in range(steps):
        for rank in ranks:
            batch = next(rank)
            order += zip(batch.indices.tolist(), map(plain, batch.samples), strict=True)
    return order, ranks[0].state


def test_the_global_order_is_the_same_at_any_world_size(written: Written) -> None:
    dataset = data.open(written.path)
    alone, _ = joined(dataset, None, 1, 6)
    for world in (2, 3, 4, 8):
        assert joined(dataset, None, world, 6)[0] == alone


def test_a_run_resized_in_mid_epoch_goes_on_in_the_same_order(written: Written) -> None:
    dataset = data.open(written.path)
    alone, _ = joined(dataset, None, 1, 9)
    order, state = joined(dataset, None, 4, 1)
    for world, steps in ((2, 1), (3, 7)):
        more, state = joined(dataset, state, world, steps)
        order += more
    assert order == alone


def places(written: Written, rng: random.Random, count: int) -> Iterator[tuple[Path, int]]:
    """Random bytes of all files of the data set and its index, larger files more often."""
    home = written.path if written.path.is_dir() else written.path.parent
    files = [path for path in sorted(home.rglob("*")) if path.is_file() and path.stat().st_size]
    sizes = [path.stat().st_size for path in files]
    for path in rng.choices(files, sizes, k=count):
        yield path, rng.randrange(path.stat().st_size)


def detected_or_equal(written: Written) -> bool:
    """True when an error came; else every sample is what was written."""
    try:
        dataset = data.open(written.path)
        try:
            found = all_samples(dataset)
        finally:
            dataset.close()
    except HeadraceError:
        return True
    assert found == wanted(written)
    return False


def flip(written: Written, count: int) -> tuple[int, int]:
    """(errors, times that all samples were right) for one bit at a time."""
    rng = random.Random(11)
    errors = 0
    for path, place in places(written, rng, count):
        content = path.read_bytes()
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        errors += detected_or_equal(written)
        path.write_bytes(content)
    assert not detected_or_equal(written)
    return errors, count - errors


def test_a_flipped_bit_is_detected_or_does_not_matter(written: Written) -> None:
    flip(written, 40)


@pytest.mark.chaos
def test_a_thousand_flipped_bits_are_each_detected_or_do_not_matter(written: Written) -> None:
    errors, harmless = flip(written, 1000)
    print(json.dumps({"format": written.format, "detected": errors, "harmless": harmless}))


def test_files_that_were_cut_or_emptied_are_detected_or_do_not_matter(written: Written) -> None:
    for path, place in places(written, random.Random(3), 10):
        content = path.read_bytes()
        for size in (place, 0):
            path.write_bytes(content[:size])
            detected_or_equal(written)
        path.unlink()
        detected_or_equal(written)
        path.write_bytes(content)


def test_large_groups_are_advised_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = WRITERS["parquet"](tmp_path, random.Random(1), SAMPLES)
    assert data.index_path(written.path).advice == ()
    monkeypatch.setattr("headrace.data.indexing._LARGE_GROUP_BYTES", 1)
    (advice,) = data.index_path(written.path).advice
    assert advice.startswith("samples lie in groups of up to 0 MiB")
