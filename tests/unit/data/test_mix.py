"""Several data sets as one, and batches drawn from them by weight."""

from pathlib import Path

import numpy as np
import pytest

from headrace import data
from headrace.data.errors import BatchesRefused, DamagedData


@pytest.fixture
def books(tmp_path: Path) -> data.Dataset:
    return packed(tmp_path / "books", b"a" * 400)


@pytest.fixture
def code(tmp_path: Path) -> data.Dataset:
    return packed(tmp_path / "code", b"b" * 200)


def packed(folder: Path, text: bytes, *, window: int = 10) -> data.Dataset:
    folder.mkdir()
    (folder / "text.txt").write_bytes(text)
    data.pack_text([folder / "text.txt"], folder / "tokens", window=window)
    return data.open(folder / "tokens")


def test_a_mix_is_its_sources_one_behind_the_other(books: data.Dataset, code: data.Dataset) -> None:
    mixed = data.mix(books=books, code=code)
    assert (len(mixed), mixed.window, mixed.vocab) == (60, 10, books.vocab)
    rows = mixed.read(np.array([59, 0, 40, 39]))
    assert rows[:, 0].tolist() == [ord("b"), ord("a"), ord("b"), ord("a")]
    assert mixed.origin(40) == code.origin(0)
    with pytest.raises(IndexError, match=r"\[0, 60\)"):
        mixed.read(np.array([60]))


def test_weights_decide_how_often_each_source_comes(
    books: data.Dataset, code: data.Dataset
) -> None:
    mixed = data.mix(books=books, code=code)
    drawn = data.batches(
        mixed, global_batch=100, seed=7, weights={"books": 0.3, "code": 0.7}, period=100
    )
    with drawn as source:
        for _ in range(3):
            first = next(source).samples[:, 0]
            assert np.count_nonzero(first == ord("b")) == 70
        assert source.state.consumed == 300


def test_a_mix_without_weights_has_epochs_as_one_data_set(
    books: data.Dataset, code: data.Dataset
) -> None:
    with data.batches(data.mix(books=books, code=code), global_batch=25, seed=7, epochs=1) as all_:
        taken = list(all_)
    assert [batch.global_batch for batch in taken] == [25, 25, 10]
    assert sorted(np.concatenate([batch.indices for batch in taken]).tolist()) == list(range(60))


def test_a_damaged_sample_of_a_source_is_left_out_under_its_number_in_the_mix(
    books: data.Dataset, code: data.Dataset, tmp_path: Path
) -> None:
    start = code.find(np.array([3])).starts[0]
    with (tmp_path / "code" / "tokens").open("r+b") as file:
        file.seek(start + 4)
        file.write(b"\xff")
    mixed = data.mix(books=books, code=code)
    with pytest.raises(DamagedData, match="sample 43"):
        mixed.read(np.array([0, 43, 44]))
    reading = data.Reading(on_damage="quarantine", threads=0)
    with data.cover(mixed, batch=60, reading=reading) as source:
        batch = next(source)
    assert batch.indices.tolist() == [n for n in range(60) if n != 43]
    assert batch.samples[:, 0].tolist() == [ord("a")] * 40 + [ord("b")] * 19
    assert [damage.index for damage in batch.damaged] == [43]


def refused(**asking: object) -> str:
    with pytest.raises(BatchesRefused) as caught:
        data.ask(**{"global_batch": 4, "seed": 0, **asking})  # type: ignore[arg-type]
    return str(caught.value)


def test_what_cannot_be_mixed_is_refused_in_words(books: data.Dataset, tmp_path: Path) -> None:
    other = packed(tmp_path / "other", b"c" * 200, window=20)
    with pytest.raises(BatchesRefused) as caught:
        data.mix(books=books, other=other)
    assert str(caught.value) == (
        "error HR-DATA-007: data sets of different kinds cannot be mixed\n"
        "  why: books has windows of 10 tokens, other has windows of 20 tokens\n"
        "  fix: pack or index them with one window"
    )
    empty = data.open(tmp_path / "other" / "tokens", split=(0.0, 0.0))
    with pytest.raises(BatchesRefused, match="the source other of a mix has no samples"):
        data.mix(other=empty)
    with pytest.raises(BatchesRefused, match="a mix of no data sets"):
        data.mix()


def test_what_cannot_be_weighed_is_refused_in_words(
    books: data.Dataset, code: data.Dataset
) -> None:
    mixed = data.mix(books=books, code=code)
    assert refused(dataset=books, weights={"books": 1}) == (
        "error HR-DATA-007: a data set that is no mix has no weights\n"
        "  why: weights name the sources of a mix\n"
        "  fix: data.mix(wiki=first, code=second)"
    )
    assert refused(dataset=mixed, weights={"books": 1}, epochs=1) == (
        "error HR-DATA-007: a mix with weights has no epochs\n"
        "  why: its sources end at different times, each begins anew when it has ended\n"
        '  fix: leave out epochs and say until="300 steps", or leave out the weights: '
        "a mix without weights is one data set"
    )
    assert refused(dataset=mixed, weights={"wiki": 1}) == (
        "error HR-DATA-007: there is a weight for wiki, which is no source of the mix\n"
        "  why: the sources are books, code\n"
        "  fix: a source without a weight has weight 0"
    )
    assert refused(dataset=mixed, weights={"books": 1, "code": 0.0001}) == (
        "error HR-DATA-007: the weights {'books': 1, 'code': 0.0001} cannot be met\n"
        "  why: weight 0.0001 is too small for one in 1000 samples\n"
        "  fix: correct the weights, or give a longer period="
    )
    assert refused(dataset=mixed, weights={5: {"books": 1}}) == (
        "error HR-DATA-007: weights has no value for step 0\n"
        "  why: it is given by step: {5: {'books': 1}}\n"
        "  fix: weights={0: ..., 1000: ...}"
    )
    assert "no batches can be drawn with 0 epochs" in refused(dataset=books, epochs=0)
