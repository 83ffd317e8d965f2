"""An index and a packed file, found, moved, damaged, and large."""

import json
import os
import random
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xxhash

from headrace import data
from headrace.core.errors import HeadraceError
from headrace.data.errors import (
    DamagedData,
    DataChanged,
    DataNotFound,
    NotADataset,
    NotIndexed,
    PackFailed,
)
from headrace.data.places import beside, in_cache
from headrace.data.repack import pack_dataset
from headrace.data.units import Units
from headrace.data.verify import verify

LINES = 700


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """700 rows of JSON of different lengths: three blocks of units."""
    path = tmp_path / "set" / "rows.jsonl"
    path.parent.mkdir()
    rng = random.Random(5)
    rows = ({"n": n, "text": "x" * rng.randrange(40)} for n in range(LINES))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def numbers(dataset: data.Dataset, indices: list[int]) -> list[int]:
    return [row["n"] for row in dataset.read(indices)]


def test_an_index_lies_beside_its_file_and_moves_with_it(lines: Path, tmp_path: Path) -> None:
    summary = data.index_path(lines)
    assert summary.index == str(lines) + ".hrindex"
    assert (summary.samples, summary.format, summary.files) == (LINES, "jsonl", 1)
    lines.parent.rename(tmp_path / "moved")
    for place in ("rows.jsonl", "rows.jsonl.hrindex"):
        dataset = data.open(tmp_path / "moved" / place)
        assert numbers(dataset, [5, 699, 0, 256, 255]) == [5, 699, 0, 256, 255]
        assert dataset.fingerprint == summary.fingerprint


def test_an_index_of_a_folder_lies_in_it(lines: Path) -> None:
    (lines.parent / "more.jsonl").write_text('{"n": -1}\n')
    summary = data.index_path(lines.parent)
    assert summary.index == str(lines.parent / ".hrindex")
    dataset = data.open(lines.parent)
    assert numbers(dataset, [0, 1, LINES]) == [-1, 0, LINES - 1]
    assert dataset.origin(0)[0].source == "more.jsonl"
    again = data.index_path(lines.parent)  # the index itself is no sample
    assert again.fingerprint == summary.fingerprint


def test_an_index_elsewhere_knows_where_its_data_are(lines: Path, tmp_path: Path) -> None:
    out = tmp_path / "indexes" / "rows"
    assert data.index_path(lines, out=out).index == str(out)
    assert numbers(data.open(out), [3]) == [3]
    with pytest.raises(NotIndexed) as caught:
        data.open(lines)
    assert str(caught.value) == (
        f"error HR-DATA-012: {lines}: the data set has no index\n"
        "  why: it looks like jsonl; an index says where each sample lies and how it hashes\n"
        f"  fix: headrace data index {lines}"
    )


def test_an_index_elsewhere_is_not_that_of_a_folder_which_it_is_named_after(
    lines: Path, tmp_path: Path
) -> None:
    (tmp_path / "train").mkdir()
    data.index_path(lines.parent, out=tmp_path / "train.hrindex")
    found = data.open(tmp_path / "train.hrindex")
    assert found.path == lines.parent
    assert numbers(found, [3]) == [3]


def test_text_in_a_folder_of_another_name_has_the_same_fingerprint(tmp_path: Path) -> None:
    made = []
    for name in ("corpus", "corpus-v1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text("hello")
        made.append(data.index_path(tmp_path / name).fingerprint)
        assert data.open(tmp_path / name)[0] == {"text": "hello", "name": "x.txt"}
    assert made[0] == made[1]


def test_the_index_of_a_read_only_folder_goes_to_the_users_cache(
    lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("headrace.data.places.os.access", lambda place, mode: False)
    summary = data.index_path(lines)
    assert summary.index == str(in_cache(lines, os.environ))
    assert not beside(lines).exists()
    assert numbers(data.open(lines), [8]) == [8]


@pytest.mark.parametrize("last", ["own", "beside"])
def test_of_an_index_beside_and_the_users_own_the_last_that_was_made_is_opened(
    lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data.index_path(lines)
    with monkeypatch.context() as patched:
        patched.setattr("headrace.data.places.os.access", lambda place, mode: False)
        own = Path(data.index_path(lines).index)
    os.utime(beside(lines), (1, 1 if last == "own" else 2**32))
    assert data.open(lines).index.path == (own if last == "own" else beside(lines))


def test_a_user_without_a_home_opens_what_is_indexed_beside(
    lines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.index_path(lines)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert numbers(data.open(lines), [8]) == [8]
    assert in_cache(lines, os.environ) is None


@pytest.mark.parametrize("use", [data.open, data.index_path])
def test_a_path_that_cannot_be_looked_at_is_refused_in_words(
    tmp_path: Path, use: Callable[[Path], object]
) -> None:
    path = tmp_path / ("n" * 300)
    with pytest.raises(NotADataset) as caught:
        use(path)
    assert caught.value.why == "it cannot be opened: File name too long"
    (tmp_path / "file").touch()
    with pytest.raises(DataNotFound):
        use(tmp_path / "file" / "below")


def test_a_file_that_has_grown_is_refused_with_a_remedy(lines: Path) -> None:
    data.index_path(lines)
    size = lines.stat().st_size
    with lines.open("a") as file:
        file.write('{"n": 0}\n')
    with pytest.raises(DataChanged) as caught:
        data.open(lines).read([0])
    assert str(caught.value) == (
        f"error HR-DATA-013: {lines}: the file has {size + 9} bytes, but had {size} when it was "
        "indexed\n"
        "  why: its samples may lie elsewhere now, or be gone\n"
        "  fix: bring the old file back, or index the data set again: headrace data index PATH"
    )


def test_a_failed_index_leaves_the_old_one(lines: Path) -> None:
    before = data.index_path(lines)
    lines.write_text('{"n": 1}\nno json\n')
    with pytest.raises(DamagedData):
        data.index_path(lines)
    assert sorted(os.listdir(lines.parent)) == ["rows.jsonl", "rows.jsonl.hrindex"]
    assert data.open(before.index).fingerprint == before.fingerprint


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def use(path: Path) -> list[object]:
    """Everything a user gets: all samples and where they come from."""
    dataset = data.open(path)
    try:
        samples = dataset.read(np.arange(len(dataset)))
        return [samples, [dataset.origin(n) for n in range(0, len(dataset), 97)]]
    finally:
        dataset.close()


@pytest.mark.parametrize("of", ["index", "data"])
def test_each_of_100_flipped_bits_of_an_indexed_set_is_detected_or_harmless(
    lines: Path, of: str
) -> None:
    """Harmless: in the data only, a byte between samples."""
    index = Path(data.index_path(lines).index)
    changed = index if of == "index" else lines
    original = changed.read_bytes()
    whole = use(lines)
    rng = random.Random(3)
    detected = 0
    for _ in range(100):
        changed.write_bytes(flipped(original, rng.randrange(8 * len(original))))
        try:
            assert use(lines) == whole
        except (DamagedData, NotADataset):
            detected += 1
    assert detected == 100 if of == "index" else detected > 90


def test_each_of_100_flipped_bits_of_packed_records_is_detected(
    lines: Path, tmp_path: Path
) -> None:
    """In bytes that no sample uses, by ``verify``; else by reading, too."""
    data.index_path(lines)
    packed = tmp_path / "rows.packed"
    pack_dataset(data.open(lines), packed)
    assert numbers(data.open(packed), [0, 600]) == [0, 600]
    original = packed.read_bytes()
    unused: set[int] = set()
    dataset = data.open(packed)
    places = dataset.find(np.arange(LINES))
    for stop, start in zip(
        [4096, *(a + b for a, b in zip(places.starts, places.sizes, strict=True))],
        places.starts,
        strict=False,
    ):
        unused.update(range(stop, start))
    rng = random.Random(4)
    broken = tmp_path / "broken.packed"
    for _ in range(100):
        bit = rng.randrange(8 * len(original))
        broken.write_bytes(flipped(original, bit))
        try:
            found = verify(data.open(broken)).damage
        except (DamagedData, NotADataset):
            continue
        assert found
        if bit // 8 not in unused:
            with pytest.raises((DamagedData, NotADataset)):
                use(broken)


@pytest.mark.parametrize("kept", [0, 7, 100, 4096, 5000, -1])
def test_a_truncated_index_is_never_used(lines: Path, kept: int) -> None:
    index = Path(data.index_path(lines).index)
    index.write_bytes(index.read_bytes()[:kept])
    for path in (lines, index):
        with pytest.raises(HeadraceError):
            use(path)


def test_verify_lists_all_damage_of_index_and_data(lines: Path) -> None:
    index = Path(data.index_path(lines).index)
    dataset = data.open(lines)
    with lines.open("r+b") as file:
        for sample in (4, 300):
            file.seek(dataset.origin(sample)[0].start + 2)
            file.write(b"\xff")
    block = dataset.index._units.entries[2]
    with index.open("r+b") as file:
        file.seek(int(block["offset"]) + 12)
        file.write(b"\xff\xff\xff")
    found = verify(data.open(lines))
    assert [one.index for one in found.damage] == [4, 300, -1]
    assert found.damage[2].why == "the checksum of block 2 of units differs"


def test_memory_for_units_is_bounded_and_look_up_is_right(lines: Path) -> None:
    """With room for one block of three."""
    data.index_path(lines)
    dataset = data.open(lines)
    order = np.random.default_rng(1).permutation(LINES)
    whole = dataset.find(order)
    blocks = dataset.index._units
    small = Units(blocks, units=LINES, samples=LINES, cache_bytes=0, least_blocks=1)
    found = small.find(order)
    assert len(small._columns.starts) == 1
    assert found.starts.tolist() == whole.starts
    assert found.digests.tolist() == whole.digests


def test_the_packed_file_is_laid_out_as_the_reference_says(tmp_path: Path) -> None:
    """Reads with nothing but docs/reference/data-index.md."""
    (tmp_path / "a.txt").write_bytes(b"abcdefghij")
    (tmp_path / "b.txt").write_bytes(b"klmno")
    out = tmp_path / "out"
    summary = data.pack_text(sorted(tmp_path.glob("*.txt")), out, window=4)
    content = out.read_bytes()
    magic, version, count, size, samples, units, start, stop, fingerprint = struct.unpack_from(
        "<8sIIQQQQQ16s", content
    )
    assert (magic, version, size) == (b"HRDATA\r\n", 2, len(content))
    assert (samples, units, start, stop) == (4, 4, 4096, 4096 + 4 * 10)
    assert fingerprint.hex() == summary.fingerprint
    assert xxhash.xxh3_128_digest(content[:4080]) == content[4080:4096]
    sections = {}
    for number in range(count):
        name, offset, length, digest = struct.unpack_from("<8sQQ16s", content, 128 + 40 * number)
        sections[name.rstrip(b"\0").decode()] = content[offset : offset + length]
        assert xxhash.xxh3_128_digest(content[offset : offset + length]) == digest
    assert json.loads(sections["meta"])["tokens"] == {"dtype": "<u2", "window": 4, "vocab": 257}
    assert struct.unpack_from("<5H", content, 4096 + 10) == (*b"efgh", ord("i"))
    offset, first, digest, length, rows = struct.unpack("<QQQII", sections["units"])
    block = content[offset : offset + length]
    assert (first, rows, xxhash.xxh3_64_intdigest(block)) == (0, 4, digest)
    flags, n = struct.unpack_from("<II", block)
    assert (flags, n) == (1, 4)
    assert struct.unpack_from("<4Q", block, 8)[1] == xxhash.xxh3_64_intdigest(content[4106:4116])
    assert struct.unpack_from("<4Q", block, 8 + 32) == (0, 4096, 10, 10)
    offset, _, _, length, _ = struct.unpack("<QQQII", sections["docs"])
    assert struct.unpack_from("<5Q", content, offset) == (2, 0, 11, 11, 17)
    assert content[offset + 40 : offset + length] == b"a.txt\0b.txt\0"


def test_what_is_not_in_memory_is_asked_for_at_once_and_read_right(
    lines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.index_path(lines)
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr("headrace.data.fill._in_memory", lambda *_: False)
    monkeypatch.setattr(
        "headrace.data.fill.os.posix_fadvise",
        lambda descriptor, start, size, advice: asked.append((start, size)),
    )
    dataset = data.open(lines)
    assert numbers(dataset, [5, 0, 699]) == [5, 0, 699]
    places = dataset.find(np.array([5, 0, 699]))
    assert asked == list(zip(places.starts, places.sizes, strict=True))


def test_an_index_that_cannot_be_written_says_so(lines: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PackFailed, match=r"writing .*/file/index failed"):
        data.index_path(lines, out=tmp_path / "file" / "index")


def test_a_thousand_files_are_read_with_few_of_them_open(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(1000):
        (folder / f"{number:04}.txt").write_text(f"text {number}")
    data.index_path(folder)
    dataset = data.open(folder)
    order = np.random.default_rng(2).permutation(1000).tolist()
    before = len(os.listdir("/proc/self/fd"))
    texts = [str(sample) for sample in dataset.read(order)]
    assert all(f"text {number}" in text for number, text in zip(order, texts, strict=True))
    assert dataset.origin(777)[0].source == "0777.txt"
    assert len(os.listdir("/proc/self/fd")) - before <= 256


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="there is no /dev/shm to read from")
def test_data_in_shared_memory_are_read_right(lines: Path) -> None:
    """tmpfs does not say what is in memory."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        copy = Path(folder) / lines.name
        copy.write_bytes(lines.read_bytes())
        data.index_path(copy)
        assert numbers(data.open(copy), [5, 0, 699]) == [5, 0, 699]
