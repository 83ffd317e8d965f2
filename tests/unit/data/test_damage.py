"""Flipped bits and cut ends in what we write ourselves: always detected, never a wrong sample."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from headrace import data
from headrace.core.errors import HeadraceError
from headrace.data.atomic import written
from headrace.data.buffers import Buffers
from headrace.data.damage import Damage, Quarantine
from headrace.data.dataset import Dataset
from headrace.data.errors import DamagedData, TooMuchDamage
from headrace.data.fill import FillGroups, FillSingles
from headrace.data.packed import PackWriter
from headrace.data.records import RecordEncoder
from headrace.data.verify import verify

SAMPLES = 60
Made = tuple[Path, Path]
"""(the file to damage, the path to open)"""


def tokens(folder: Path) -> Made:
    for number, name in enumerate(("a", "b", "c")):
        (folder / f"{name}.txt").write_bytes(random.Random(number).randbytes(500))
    out = folder / "out"
    data.pack_text(sorted(folder.glob("*.txt")), out, window=24)
    return out, out


def blobs(folder: Path) -> Made:
    rng = random.Random(1)
    with written(folder / "out") as file, PackWriter(file, folder) as packed:
        for _ in range(SAMPLES):
            packed.add_record(rng.randbytes(rng.randrange(200)))
        packed.finish({"format": "records", "fields": None})
    return folder / "out", folder / "out"


def records(folder: Path) -> Made:
    rng, encode = random.Random(1), RecordEncoder()
    with written(folder / "out") as file, PackWriter(file, folder) as packed:
        for number in range(SAMPLES):
            fields = {"n": number, "text": "ü" * (number % 5), "bytes": rng.randbytes(number)}
            packed.add_record(encode({**fields, "array": np.arange(number, dtype=np.float32)}))
        packed.finish(encode.meta())
    return folder / "out", folder / "out"


def index(folder: Path) -> Made:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"n": "x" * (n % 50)}) + "\n" for n in range(500)))
    return Path(data.index_path(path).index), path


def seen(path: Path) -> tuple[list[str], list[object]]:
    """All samples and their origins."""
    dataset = data.open(path)
    try:
        samples = [str(plain(one)) for one in dataset.read(np.arange(len(dataset)))]
        return samples, [dataset.origin(number) for number in range(len(dataset))]
    finally:
        dataset.close()


def plain(sample: object) -> object:
    if isinstance(sample, dict):
        return {name: plain(value) for name, value in sample.items()}
    return bytes(sample) if isinstance(sample, memoryview) else sample


def found_by_verify(path: Path) -> bool:
    try:
        dataset = data.open(path)
    except HeadraceError:
        return True
    found = bool(verify(dataset, threads=1).damage)
    dataset.close()
    return found


def flip(made: Made, count: int) -> None:
    file, path = made
    original, whole = file.read_bytes(), seen(path)
    rng = random.Random(9)
    for _ in range(count):
        place = rng.randrange(len(original))
        changed = bytearray(original)
        changed[place] ^= 1 << rng.randrange(8)
        file.write_bytes(changed)
        assert found_by_verify(path), place
        try:
            assert seen(path) == whole, place  # a byte of no use: between samples
        except HeadraceError:
            continue


KINDS = [tokens, blobs, records, index]


@pytest.mark.parametrize("make", KINDS)
def test_each_of_60_flipped_bits_is_detected(make: Callable[[Path], Made], tmp_path: Path) -> None:
    flip(make(tmp_path), 60)


@pytest.mark.slow
@pytest.mark.parametrize("make", KINDS)
def test_each_of_1000_flipped_bits_is_detected(
    make: Callable[[Path], Made], tmp_path: Path
) -> None:
    flip(make(tmp_path), 1000)


@pytest.mark.parametrize("make", KINDS)
def test_a_file_that_is_cut_or_empty_is_refused(
    make: Callable[[Path], Made], tmp_path: Path
) -> None:
    file, path = make(tmp_path)
    original = file.read_bytes()
    for kept in (0, 1, 8, 4095, 4096, len(original) // 2, len(original) - 1):
        file.write_bytes(original[:kept])
        with pytest.raises(HeadraceError):
            seen(path)
    file.write_bytes(original + b"\0")
    with pytest.raises(HeadraceError):
        seen(path)


def test_quarantine_bears_its_share_and_no_more() -> None:
    damage = [Damage(index=n, path="x", start=n, stop=n + 1, why="bad") for n in range(30)]
    quarantine = Quarantine(most=0.01)
    assert quarantine.count(1000, damage[:5]) == damage[:5]
    assert quarantine.count(1000, damage[3:7]) == damage[5:7]
    assert (quarantine.seen, quarantine.left_out, len(quarantine.report)) == (2000, 9, 7)
    with pytest.raises(TooMuchDamage, match="23 of 2100 samples read so far were damaged"):
        quarantine.count(100, damage[7:21])


def test_the_batches_of_a_damaged_set_name_their_damage(tmp_path: Path) -> None:
    file, path = blobs(tmp_path)
    dataset: Dataset = data.open(path)
    places = [dataset.origin(number)[0] for number in (7, 31)]
    with file.open("r+b") as out:
        for place in places:
            out.seek(place.start)
            out.write(bytes(place.stop - place.start))
    reading = data.Reading(on_damage="quarantine")
    with data.cover(data.open(path), batch=8, reading=reading) as source:
        batches = list(source)
    assert sum(len(batch.samples) for batch in batches) == SAMPLES - 2
    assert [one.index for batch in batches for one in batch.damaged] == [7, 31]
    found = source.quarantine.report[31]
    assert (found.path, found.start, found.stop) == (str(path), places[1].start, places[1].stop)


@pytest.mark.parametrize("fill", [FillSingles, FillGroups])
def test_a_sample_that_was_damaged_before_it_was_indexed_is_left_out_like_any_other(
    fill: type[FillSingles] | type[FillGroups], tmp_path: Path
) -> None:
    def decode(memory: memoryview, name: str, start: int) -> list[int]:
        if start == places.starts[2]:
            raise DamagedData(tmp_path / name, "no length fits", start=start, stop=start + 1)
        return [len(memory)]

    _, path = index(tmp_path)
    dataset = data.open(path)
    places = dataset.find(np.arange(4))
    filled = fill(dataset.files, decode)(places, Buffers(most=0))
    assert (filled.samples, filled.good) == ([places.sizes[n] for n in (0, 1, 3)], [0, 1, 3])
    assert [(one.index, one.why) for one in filled.damaged] == [(2, "no length fits")]
