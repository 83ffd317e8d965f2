"""Packs of documents as a data set: made once, read whole, damaged as a whole."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from headrace import data
from headrace.data.errors import BatchesRefused, DamagedData, NotADataset
from headrace.data.index import Piece
from headrace.data.packing import pack_documents
from headrace.data.packs import lengths_of
from headrace.data.packs_file import PacksFile, write_packs


def documents(folder: Path, lengths: list[int]) -> data.Dataset:
    """Document n is 100 * n, 100 * n + 1, ..."""
    folder.mkdir(exist_ok=True)
    path = folder / "corpus.jsonl"
    lines = [json.dumps({"ids": list(range(100 * n, 100 * n + k))}) for n, k in enumerate(lengths)]
    path.write_text("\n".join(lines) + "\n")
    data.index_path(path)
    return data.open(path)


LENGTHS = [5, 1, 23, 7, 3, 0, 4]


@pytest.fixture
def corpus(tmp_path: Path) -> data.Dataset:
    return documents(tmp_path, LENGTHS)


def predictions(rows: np.ndarray) -> list[tuple[int, int]]:
    """(token, next token) wherever a prediction counts."""
    tokens, pieces = rows[:, 0], rows[:, 1]
    counts = (pieces[:, 1:] == pieces[:, :-1]) & (pieces[:, 1:] > 0)
    return sorted(zip(tokens[:, :-1][counts].tolist(), tokens[:, 1:][counts].tolist(), strict=True))


def test_every_token_is_predicted_once_and_within_its_document(corpus: data.Dataset) -> None:
    packed = data.in_packs(corpus, window=9, field="ids")
    with data.cover(packed, batch=2) as batches:
        rows = np.concatenate([batch.samples for batch in batches])
    assert rows.shape == (len(packed), 3, 10)
    assert predictions(rows) == [
        (100 * n + k, 100 * n + k + 1) for n, size in enumerate(LENGTHS) for k in range(size - 1)
    ]
    assert packed.fill_share == np.count_nonzero(rows[:, 1]) / rows[:, 1].size


def test_packs_are_drawn_like_any_samples_at_any_world_size(corpus: data.Dataset) -> None:
    packed = data.in_packs(corpus, window=9, field="ids")
    asking = {"global_batch": 3, "seed": 7}
    with data.batches(packed, **asking) as alone:  # type: ignore[arg-type]
        whole = [next(alone).samples for _ in range(4)]
    ranks = [data.batches(packed, rank=rank, world=2, **asking) for rank in range(2)]  # type: ignore[arg-type]
    for samples in whole:
        parts = [next(rank).samples for rank in ranks]
        assert np.array_equal(np.concatenate(parts), samples)
    for rank in ranks:
        rank.close()


def test_the_table_is_made_once_and_anew_for_other_documents(
    corpus: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = data.in_packs(corpus, window=9, field="ids")
    monkeypatch.setattr("headrace.data.packs.lengths_of", None)
    again = data.in_packs(corpus, window=9, field="ids")
    assert again.fingerprint == first.fingerprint
    monkeypatch.undo()
    kept = tmp_path / "table"
    assert len(data.in_packs(corpus, window=9, field="ids", path=kept)) == len(first)
    other = documents(tmp_path, [8, 8])
    assert len(data.in_packs(other, window=9, field="ids", path=kept)) == 2


def test_a_pack_says_where_its_tokens_lie(corpus: data.Dataset) -> None:
    packed = data.in_packs(corpus, window=9, field="ids")
    pieces = [piece for index in range(len(packed)) for piece in packed.origin(index)]
    assert Piece(source="corpus.jsonl#2", start=9, stop=19) in pieces
    assert all(piece.source.startswith("corpus.jsonl#") for piece in pieces)


def test_megatrons_sequences_are_packed_by_what_the_index_says(tmp_path: Path) -> None:
    lengths = np.array([5, 1, 23, 7], dtype="<i4")
    tokens = np.arange(lengths.sum(), dtype="<u2")
    (tmp_path / "c.bin").write_bytes(tokens.tobytes())
    pointers = ((np.cumsum(lengths) - lengths) * 2).astype("<i8")
    head = b"MMIDIDX\0\0" + (1).to_bytes(8, "little") + bytes([8])
    head += len(lengths).to_bytes(8, "little") + (len(lengths) + 1).to_bytes(8, "little")
    starts = np.arange(len(lengths) + 1, dtype="<i8")
    (tmp_path / "c.idx").write_bytes(
        head + lengths.tobytes() + pointers.tobytes() + starts.tobytes()
    )
    data.index_path(tmp_path / "c.bin")
    corpus = data.open(tmp_path / "c.bin")
    assert lengths_of(corpus, None).tolist() == lengths.tolist()
    packed = data.in_packs(corpus, window=9)
    assert len(predictions(packed.read(np.arange(len(packed))))) == (lengths - 1).sum()


def test_packs_of_a_mix_are_kept_where_one_says(corpus: data.Dataset, tmp_path: Path) -> None:
    more = documents(tmp_path / "more", [30, 2])
    mixed = data.mix(corpus=corpus, more=more)
    with pytest.raises(BatchesRefused) as caught:
        data.in_packs(mixed, window=9, field="ids")
    assert str(caught.value) == (
        "error HR-DATA-007: a table of packs has no place of its own here\n"
        "  why: it lies beside the index of a data set, and this is made of several\n"
        '  fix: say where to keep it, as path=Path("corpus.packs")'
    )
    packed = data.in_packs(mixed, window=9, field="ids", path=tmp_path / "mix.packs")
    with data.cover(packed, batch=4) as batches:
        rows = np.concatenate([batch.samples for batch in batches])
    assert len(predictions(rows)) == sum(size - 1 for size in [*LENGTHS, 30, 2] if size)


def test_a_pack_with_a_damaged_document_is_left_out_or_raised(
    corpus: data.Dataset, tmp_path: Path
) -> None:
    packed = data.in_packs(corpus, window=9, field="ids")
    text = (tmp_path / "corpus.jsonl").read_bytes()
    (tmp_path / "corpus.jsonl").write_bytes(text.replace(b"300", b"999"))
    damaged = [n for n in range(len(packed)) if any("#3" in p.source for p in packed.origin(n))]
    with pytest.raises(DamagedData):
        packed.read(np.array(damaged))
    reading = data.Reading(on_damage="quarantine", threads=0)
    with data.cover(packed, batch=len(packed), reading=reading) as batches:
        batch = next(batches)
    assert batch.indices.tolist() == [n for n in range(len(packed)) if n not in damaged]
    assert len(batch.samples) == len(batch.indices)
    assert [one.index for one in batch.damaged] == damaged


def test_a_damaged_table_is_never_believed(corpus: data.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "table"
    good = data.in_packs(corpus, window=9, field="ids", path=path).read(np.arange(5))
    clean = path.read_bytes()
    rng = np.random.default_rng(7)
    for place in rng.integers(0, len(clean), 200).tolist():
        wrong = bytearray(clean)
        wrong[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(wrong)
        try:
            again = data.in_packs(corpus, window=9, field="ids", path=path).read(np.arange(5))
        except DamagedData:
            continue
        except Exception as error:
            assert type(error).__name__ == "NotADataset"  # noqa: PT017
            continue
        assert np.array_equal(again, good)


def test_what_holds_no_tokens_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.jsonl").write_text('{"text": "words"}\n')
    data.index_path(tmp_path / "text.jsonl")
    with pytest.raises(BatchesRefused) as caught:
        data.in_packs(data.open(tmp_path / "text.jsonl"), window=9, field="text")
    assert str(caught.value) == (
        "error HR-DATA-007: the samples of this data set are no documents of tokens\n"
        "  why: a sample is str, and tokens are a list or an array of whole numbers\n"
        '  fix: say which field holds tokens, as field="input_ids"; pack text with: '
        "headrace data pack"
    )
    with pytest.raises(BatchesRefused, match="no document has two tokens or more"):
        data.in_packs(documents(tmp_path / "short", [1, 0]), window=9, field="ids")
    with pytest.raises(BatchesRefused, match="a window of 0 tokens"):
        data.in_packs(documents(tmp_path / "none", [3]), window=0)


def test_the_table_of_packs_keeps_no_more_than_it_may_and_says_the_same(tmp_path: Path) -> None:
    packing = pack_documents(np.arange(2, 20_000) % 90 + 2, window=99)
    write_packs(tmp_path / "packs", packing, window=99, made_for="x")
    small = PacksFile(tmp_path / "packs", cache_bytes=20_000)
    tracemalloc.start()
    try:
        for _ in range(2):
            for pack in range(small.packs):
                start, stop = packing.starts[pack : pack + 2].tolist()
                assert small.pieces(pack) == packing.segments[start:stop].tolist()
        del start, stop
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert small._held_bytes <= 20_000
    assert held_bytes < 200_000


def test_a_field_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"ids": [1, 2], "text": "x"}\n')
    data.index_path(tmp_path / "a.jsonl")
    with pytest.raises(BatchesRefused) as caught:
        data.in_packs(data.open(tmp_path / "a.jsonl"), window=4, field="wrong")
    assert str(caught.value) == (
        "error HR-DATA-007: a sample has no field wrong\n"
        "  why: its fields are ids, text\n"
        "  fix: say which of them holds tokens"
    )


def test_a_token_that_is_not_below_the_vocab_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"ids": [1, -100, 4294967301, 99]}\n')
    data.index_path(tmp_path / "a.jsonl")
    packed = data.in_packs(data.open(tmp_path / "a.jsonl"), window=4, field="ids", vocab=10)
    with pytest.raises(BatchesRefused) as caught:
        packed.read(np.array([0]))
    assert str(caught.value) == (
        "error HR-DATA-007: document 0 has tokens from -100 to 4294967301\n"
        "  why: every token is from 0 to 9: vocab is 10\n"
        "  fix: give the vocab of the tokenizer that made them, as vocab="
    )
    with pytest.raises(BatchesRefused, match="a vocab of 0 is none"):
        data.in_packs(data.open(tmp_path / "a.jsonl"), window=4, field="ids", vocab=0)


def test_an_index_is_no_table_of_packs_and_is_not_replaced_by_one(corpus: data.Dataset) -> None:
    place = corpus.index.path
    before = place.read_bytes()
    with pytest.raises(NotADataset, match="no table of packs"):
        data.in_packs(corpus, window=9, field="ids", path=place)
    assert place.read_bytes() == before


def test_entropy_of_packs_is_that_of_the_tokens_that_are_predicted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"ids": [5, 5, 5, 5, 5]}\n' * 20)
    data.index_path(tmp_path / "a.jsonl")
    documents = data.open(tmp_path / "a.jsonl")
    assert data.unigram_entropy(data.in_packs(documents, window=8, field="ids")) == 0.0
    (tmp_path / "b.jsonl").write_text('{"ids": [9, 1, 2]}\n' * 20)
    data.index_path(tmp_path / "b.jsonl")
    packed = data.in_packs(data.open(tmp_path / "b.jsonl"), window=7, field="ids")
    assert data.unigram_entropy(packed) == pytest.approx(np.log(2))


@pytest.mark.parametrize("window", [0, 2**31, 10**20])
def test_a_window_that_no_row_has_is_refused(corpus: data.Dataset, window: int) -> None:
    with pytest.raises(BatchesRefused, match="both are 1 or more, and a window is below"):
        data.in_packs(corpus, window=window, field="ids")
