"""Documents packed into rows: every token is predicted once, and rows are nearly full."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.data.packing import Packing, fill, pack_documents, rows_of

lengths_of_documents = st.lists(st.integers(0, 200), max_size=60)
windows = st.integers(1, 64)


def pieces_of(packing: Packing) -> list[list[tuple[int, int, int]]]:
    """(document, start, stop) of each pack."""
    starts = packing.starts.tolist()
    pieces = packing.segments.tolist()
    return [pieces[a:b] for a, b in pairwise(starts)]


@given(lengths_of_documents, windows, st.integers(1, 20))
def test_every_token_but_a_documents_first_is_predicted_once(
    lengths: list[int], window: int, block: int
) -> None:
    packs = pieces_of(pack_documents(np.array(lengths, np.int64), window=window, block=block))
    predicted = sorted(
        (document, token)
        for pack in packs
        for document, start, stop in pack
        for token in range(start + 1, stop)
    )
    assert predicted == [
        (document, token) for document, length in enumerate(lengths) for token in range(1, length)
    ]


@given(lengths_of_documents, windows, st.integers(1, 20))
def test_a_row_holds_its_pieces_and_all_are_of_one_block(
    lengths: list[int], window: int, block: int
) -> None:
    packs = pieces_of(pack_documents(np.array(lengths, np.int64), window=window, block=block))
    assert all(pack for pack in packs)
    for pack in packs:
        assert sum(stop - start for _, start, stop in pack) <= window + 1
        assert len({document // block for document, _, _ in pack}) == 1
        assert pack == sorted(pack)
    assert [pack[0] for pack in packs] == sorted(pack[0] for pack in packs)


@given(lengths_of_documents, windows, st.integers(1, 20), st.integers(0, 5))
def test_a_block_is_packed_the_same_whatever_follows(
    lengths: list[int], window: int, block: int, blocks: int
) -> None:
    whole = pieces_of(pack_documents(np.array(lengths, np.int64), window=window, block=block))
    first = np.array(lengths[: blocks * block], np.int64)
    assert pieces_of(pack_documents(first, window=window, block=block)) == [
        pack for pack in whole if pack[0][0] < blocks * block
    ]


@given(lengths_of_documents, windows)
def test_rows_say_which_token_is_of_which_document(lengths: list[int], window: int) -> None:
    packing = pack_documents(np.array(lengths, np.int64), window=window)
    packs = pieces_of(packing)
    texts = [np.arange(length) + 1000 * (n + 1) for n, length in enumerate(lengths)]
    rows = rows_of(
        [len(pack) for pack in packs],
        [texts[document][start:stop] for pack in packs for document, start, stop in pack],
        np.full((len(packs), 3, window + 1), -1, np.int32),
    )
    for row, pack in zip(rows, packs, strict=True):
        place = 0
        for number, (document, start, stop) in enumerate(pack, start=1):
            size = stop - start
            tokens, segments, positions = row[:, place : place + size]
            assert tokens.tolist() == texts[document][start:stop].tolist()
            assert set(segments.tolist()) == {number}
            assert positions.tolist() == list(range(size))
            place += size
        assert not row[:, place:].any()
    if len(packs):
        assert fill(packing, window) == pytest.approx(
            np.count_nonzero(rows[:, 1]) / rows[:, 1].size
        )


@pytest.mark.parametrize("window", [512, 2048, 8192])
@pytest.mark.parametrize("median", [100, 600, 3000])
def test_rows_are_at_least_95_percent_full(window: int, median: int) -> None:
    """Lengths of web text: log-normal."""
    drawn = np.random.default_rng(7).lognormal(np.log(median), 1.2, 8192)
    packing = pack_documents(np.maximum(1, drawn.astype(np.int64)), window=window)
    filled = fill(packing, window)
    print(f"window {window}, median {median} tokens: {filled:.2%} filled")
    assert filled >= 0.95


@pytest.mark.parametrize(
    ("lengths", "window", "block"), [([1], 0, 1), ([1], 1, 0), ([-1], 1, 1), ([2**32], 1, 1)]
)
def test_what_cannot_be_packed_is_refused(lengths: list[int], window: int, block: int) -> None:
    with pytest.raises(ValueError, match=r"1 or more|2\*\*32"):
        pack_documents(np.array(lengths, np.int64), window=window, block=block)
