"""Boxes: overlap, cutting and tiling against arrays of which each element is marked."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.checkpoint.box import Box, cut, tile, whole

SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)


@st.composite
def boxes_of(draw: st.DrawFn, shape: tuple[int, ...]) -> Box:
    offsets = tuple(draw(st.integers(0, extent)) for extent in shape)
    sizes = tuple(
        draw(st.integers(0, extent - start)) for start, extent in zip(offsets, shape, strict=True)
    )
    return Box(offsets, sizes)


@st.composite
def shape_and_boxes(draw: st.DrawFn) -> tuple[tuple[int, ...], list[Box]]:
    shape = draw(SHAPES)
    return shape, draw(st.lists(boxes_of(shape), max_size=4))


def marked(box: Box, shape: tuple[int, ...]) -> np.ndarray:
    marks = np.zeros(shape, dtype=int)
    marks[box.inside(whole(shape))] += 1
    return marks


@given(shape_and_boxes())
def test_an_overlap_is_what_both_hold(drawn: tuple[tuple[int, ...], list[Box]]) -> None:
    shape, boxes = drawn
    for one in boxes:
        for other in boxes:
            both = marked(one, shape) * marked(other, shape)
            found = one.overlap(other)
            assert (found is None) == (both.sum() == 0)
            if found is not None:
                assert np.array_equal(marked(found, shape), both)


@given(shape_and_boxes())
def test_boxes_tile_when_each_element_is_in_exactly_one(
    drawn: tuple[tuple[int, ...], list[Box]],
) -> None:
    shape, boxes = drawn
    counts = sum((marked(box, shape) for box in boxes), np.zeros(shape, dtype=int))
    assert tile(boxes, shape) == bool((counts == 1).all())


@given(SHAPES.flatmap(lambda shape: st.tuples(st.just(shape), boxes_of(shape))), st.integers(1, 9))
def test_cutting_gives_runs_in_order_that_tile_the_box(
    drawn: tuple[tuple[int, ...], Box], elements: int
) -> None:
    shape, box = drawn
    numbers = np.arange(math.prod(box.sizes)).reshape(box.sizes)
    pieces = list(cut(box, elements=elements))
    parts = [numbers[piece.inside(box)].reshape(-1) for piece in pieces]
    assert np.array_equal(np.concatenate(parts), numbers.reshape(-1))
    assert all(piece.elements <= elements for piece in pieces)
    assert all(piece.is_run_of(box) for piece in pieces)
    assert all(piece.fits(shape) for piece in pieces)


@given(SHAPES.flatmap(lambda shape: st.tuples(st.just(shape), boxes_of(shape))))
def test_a_run_is_contiguous_in_memory(drawn: tuple[tuple[int, ...], Box]) -> None:
    shape, box = drawn
    if box.elements == 0:
        return
    view = np.zeros(shape, dtype=np.uint8)[box.inside(whole(shape))]
    assert box.is_run_of(whole(shape)) == view.flags.c_contiguous


def test_a_box_outside_of_the_tensor_does_not_tile_it() -> None:
    assert not tile([Box((1,), (2,))], (2,))
    assert not tile([Box((0, 0), (1, 2))], (2,))
    assert not tile([Box((-1,), (2,))], (2,))
    assert tile([], (0, 3))
    assert not tile([], ())
    assert not tile([Box((), ()), Box((), ())], ())
