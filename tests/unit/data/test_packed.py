"""Packing and reading back, and what happens when bytes are not those that were written."""

import os
import random
from pathlib import Path

import numpy as np
import pytest

from headrace import data
from headrace.core.errors import HeadraceError
from headrace.data.errors import BatchesRefused, DamagedData, DataNotFound, NotADataset
from headrace.data.formats import registry
from headrace.data.verify import verify

WINDOW = 64


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """About 70 KiB in three documents, in two folders."""
    folder = tmp_path / "corpus"
    (folder / "deep").mkdir(parents=True)
    (folder / "b.txt").write_bytes(random.Random(1).randbytes(50_000))
    (folder / "a.txt").write_bytes(random.Random(2).randbytes(20_000))
    (folder / "deep" / "c.txt").write_bytes(b"short")
    return folder


@pytest.fixture
def packed(corpus: Path, tmp_path: Path) -> Path:
    out = tmp_path / "corpus.tokens"
    data.pack_text(sorted(corpus.rglob("*.txt")), out, window=WINDOW)
    return out


def expected_stream(corpus: Path) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    parts = [(corpus / name).read_bytes() for name in ("a.txt", "b.txt", "deep/c.txt")]
    return np.array([token for part in parts for token in (*part, 256)])


def test_windows_are_the_bytes_of_the_files_in_the_order_of_their_paths(
    corpus: Path, packed: Path
) -> None:
    stream = expected_stream(corpus)
    dataset = data.open(packed)
    assert len(dataset) == (len(stream) - 1) // WINDOW
    samples = dataset.read(np.arange(len(dataset)))
    assert samples.shape == (len(dataset), WINDOW + 1)
    for index in range(len(dataset)):
        start = index * WINDOW
        assert samples[index].tolist() == stream[start : start + WINDOW + 1].tolist()


def test_any_indices_are_read_in_the_order_they_are_asked_for(packed: Path) -> None:
    dataset = data.open(packed)
    whole = dataset.read(np.arange(len(dataset)))
    wanted = np.random.default_rng(3).integers(0, len(dataset), 500)
    assert np.array_equal(dataset.read(wanted), whole[wanted])
    assert dataset.read(np.array([], dtype=np.int64)).shape == (0, WINDOW + 1)


def test_what_is_read_belongs_to_the_caller(packed: Path) -> None:
    dataset = data.open(packed)
    first = dataset.read(np.array([0]))
    before = first.copy()
    first[:] = 7
    assert np.array_equal(dataset.read(np.array([0])), before)


@pytest.mark.parametrize("index", [-1, 10**6])
def test_an_index_outside_is_refused(packed: Path, index: int) -> None:
    with pytest.raises(IndexError):
        data.open(packed).read(np.array([index]))
    with pytest.raises(IndexError):
        data.open(packed).origin(index)


def test_splits_have_no_window_in_common_and_other_fingerprints(packed: Path) -> None:
    whole = data.open(packed)
    train, rest = data.open(packed, split=(0.0, 0.9)), data.open(packed, split=(0.9, 1.0))
    assert len(train) + len(rest) == len(whole)
    assert np.array_equal(
        rest.read(np.arange(len(rest))),
        whole.read(np.arange(len(train), len(whole))),
    )
    assert len({whole.fingerprint, train.fingerprint, rest.fingerprint}) == 3
    assert rest.origin(0) == whole.origin(len(train))


def test_a_split_that_is_no_part_is_refused(packed: Path) -> None:
    with pytest.raises(BatchesRefused) as caught:
        data.open(packed, split=(0.5, 0.2))
    assert str(caught.value) == (
        "error HR-DATA-007: split (0.5, 0.2) is not a part of a data set\n"
        "  why: a split is two fractions, 0 <= start <= stop <= 1\n"
        "  fix: for example split=(0.0, 0.9) to train and (0.9, 1.0) to evaluate"
    )


def test_origin_names_the_bytes_of_each_document_in_a_window(corpus: Path, packed: Path) -> None:
    dataset = data.open(packed)
    border = 20_001 // WINDOW
    first, second = dataset.origin(border)
    assert (first.source, second.source) == ("a.txt", "b.txt")
    here = (corpus / "a.txt").read_bytes()[first.start : first.stop]
    there = (corpus / "b.txt").read_bytes()[second.start : second.stop]
    tokens = dataset.read(np.array([border]))[0].tolist()
    assert tokens == [*here, 256, *there]


def test_every_origin_covers_exactly_its_window(packed: Path) -> None:
    dataset = data.open(packed)
    for index in range(len(dataset)):
        pieces = dataset.origin(index)
        assert all(piece.start < piece.stop for piece in pieces)
        assert sum(piece.stop - piece.start for piece in pieces) == WINDOW + 1


def test_the_same_files_give_the_same_bytes_in_any_order_and_place(
    corpus: Path, packed: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere"
    corpus.rename(moved)
    again = tmp_path / "again.tokens"
    files = sorted(moved.rglob("*.txt"), reverse=True)
    summary = data.pack_text([*files, files[0]], again, window=WINDOW)
    assert again.read_bytes() == packed.read_bytes()
    assert summary.fingerprint == data.open(packed).fingerprint


def test_every_one_of_300_flipped_bits_is_detected(packed: Path, tmp_path: Path) -> None:
    original = packed.read_bytes()
    flips = random.Random(11)
    places = [flips.randrange(len(original) * 8) for _ in range(240)]
    places += [flips.randrange(4096 * 8) for _ in range(30)]  # header
    places += [flips.randrange((len(original) - 120) * 8, len(original) * 8) for _ in range(30)]
    broken = tmp_path / "broken.tokens"
    for place in places:
        changed = bytearray(original)
        changed[place // 8] ^= 1 << place % 8
        broken.write_bytes(changed)
        with pytest.raises((DamagedData, NotADataset)):
            read_all(broken)


def read_all(path: Path) -> None:
    dataset = data.open(path)
    dataset.read(np.arange(len(dataset)))


@pytest.mark.parametrize("kept", [0, 7, 8, 100, 4096, 5000, -1])
def test_a_truncated_file_is_detected_when_it_is_opened(packed: Path, kept: int) -> None:
    packed.write_bytes(packed.read_bytes()[:kept])
    with pytest.raises((DamagedData, NotADataset)):
        data.open(packed)


def test_a_file_with_bytes_after_its_end_is_damaged(packed: Path) -> None:
    size = packed.stat().st_size
    packed.write_bytes(packed.read_bytes() + b"xx")
    with pytest.raises(DamagedData) as caught:
        data.open(packed)
    assert str(caught.value) == (
        f"error HR-DATA-003: {packed}: bytes {size} to {size + 2} are damaged\n"
        f"  why: the file has {size + 2} bytes, its header says {size}\n"
        "  fix: copy the file again from its source, or make it again; "
        "headrace data verify PATH lists all damage of a data set"
    )


def test_damage_names_the_sample_and_spares_the_others(packed: Path) -> None:
    row_bytes = (WINDOW + 1) * 2
    with packed.open("r+b") as file:
        file.seek(4096 + 5 * row_bytes + 10)
        file.write(b"\xff\xff")
    dataset = data.open(packed)
    dataset.read(np.array([4, 6]))
    with pytest.raises(DamagedData) as caught:
        dataset.read(np.array([4, 5]))
    start = 4096 + 5 * row_bytes
    assert caught.value.problem == (
        f"{packed}: bytes {start} to {start + row_bytes} of sample 5 are damaged"
    )
    assert [found.index for found in verify(dataset).damage] == [5]


def test_a_file_that_shrinks_after_it_was_opened_is_detected(packed: Path) -> None:
    dataset = data.open(packed)
    os.truncate(packed, 5000)
    with pytest.raises(DamagedData, match="the file ends before"):
        dataset.read(np.array([0]))


def test_data_is_read_from_a_read_only_folder_without_writing(packed: Path) -> None:
    before = sorted(packed.parent.iterdir())
    packed.chmod(0o444)
    packed.parent.chmod(0o555)
    try:
        read_all(packed)
        assert sorted(packed.parent.iterdir()) == before
    finally:
        packed.parent.chmod(0o755)


def test_a_missing_data_set_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataNotFound) as caught:
        data.open(tmp_path / "none")
    assert str(caught.value) == (
        f"error HR-DATA-001: {tmp_path}/none: no such data set\n"
        "  why: the path does not exist on this machine\n"
        "  fix: check the path; make a data set with: headrace data pack PATH --out FILE"
    )


def test_a_file_of_another_kind_and_a_folder_are_no_data_sets(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("once upon a time")
    with pytest.raises(NotADataset) as caught:
        data.open(tmp_path / "text")
    assert str(caught.value) == (
        f"error HR-DATA-002: {tmp_path}/text: not a data set\n"
        f"  why: it looks like none of {', '.join(registry.names())}\n"
        "  fix: name its format: headrace data index PATH --format FORMAT; "
        "or pack text: headrace data pack PATH --out FILE --window N"
    )
    with pytest.raises(NotADataset, match="not a data set"):
        data.open(tmp_path)


def test_a_file_of_a_later_version_is_refused_by_name(packed: Path) -> None:
    import xxhash

    content = bytearray(packed.read_bytes())
    content[8] = 3
    content[4080:4096] = xxhash.xxh3_128_digest(content[:4080])
    packed.write_bytes(content)
    with pytest.raises(NotADataset) as caught:
        data.open(packed)
    assert caught.value.why == "it has version 3; this Headrace reads 2"


def test_a_closed_data_set_says_so(packed: Path) -> None:
    dataset = data.open(packed)
    dataset.close()
    dataset.close()
    with pytest.raises(OSError, match="is closed"):
        dataset.read(np.array([0]))


def test_entropy_of_bytes_that_occur_equally_often_is_the_logarithm(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"abcd" * 4096)
    data.pack_text([tmp_path / "x.txt"], tmp_path / "x.tokens", window=4)
    assert data.unigram_entropy(data.open(tmp_path / "x.tokens", split=(0, 0.5))) == pytest.approx(
        np.log(4)
    )
    empty = data.open(tmp_path / "x.tokens", split=(0.5, 0.5))
    assert data.unigram_entropy(empty) == 0.0


def test_all_errors_of_data_are_headrace_errors() -> None:
    from headrace.data import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = [
        kind.code
        for kind in kinds
        if issubclass(kind, HeadraceError) and kind.code.startswith("HR-DATA")
    ]
    assert sorted(codes) == [f"HR-DATA-{number:03d}" for number in range(1, len(codes) + 1)]
