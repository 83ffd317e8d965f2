"""Boxes of a tensor: which elements a chunk holds, or a rank wants. Pure, without torch.

A box is given by its first element and its extent in each dimension. A number (0 dimensions) is one
box of one element.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """Elements ``offsets[d] <= index < offsets[d] + sizes[d]`` in each dimension ``d``."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.sizes)

    def overlap(self, other: "Box") -> "Box | None":
        """What both hold, or None when that is nothing. Both have the same number of dimensions."""
        starts, sizes = [], []
        for start, size, start2, size2 in zip(*self, *other, strict=True):
            first = max(start, start2)
            count = min(start + size, start2 + size2) - first
            if count <= 0:
                return None
            starts.append(first)
            sizes.append(count)
        return Box(tuple(starts), tuple(sizes))

    def inside(self, outer: "Box") -> tuple[slice, ...]:
        """Where this box lies in an array that holds ``outer``, which must enclose it."""
        return tuple(
            slice(start - base, start - base + size)
            for start, size, base in zip(*self, outer.offsets, strict=True)
        )

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether it is a box of a tensor of this shape."""
        return len(self.offsets) == len(self.sizes) == len(shape) and all(
            start >= 0 and size >= 0 and start + size <= extent
            for start, size, extent in zip(*self, shape, strict=True)
        )

    def is_run_of(self, outer: "Box") -> bool:
        """Whether its elements follow each other without gaps in a row-major array of ``outer``."""
        one_row = True
        for size, extent in zip(self.sizes, outer.sizes, strict=True):
            if not one_row and size != extent:
                return False
            one_row = one_row and size == 1
        return True


def label(name: str, box: Box, shape: Sequence[int]) -> str:
    """A box of a tensor in a file: the tensor's name, and where in it when it is not all of it."""
    if box == whole(shape):
        return name
    spans = (f"{start}:{start + size}" for start, size in zip(*box, strict=True))
    return f"{name}[{','.join(spans)}]"


def whole(shape: Sequence[int]) -> Box:
    """The box of all elements."""
    return Box((0,) * len(shape), tuple(shape))


def cut(box: Box, *, elements: int) -> Iterator[Box]:
    """``box`` in row-major order as boxes of at most ``elements`` (1 or more) each.

    Each is a run of ``box``, so that its bytes are a range of those of ``box``.
    """
    if box.elements <= elements:
        yield box
        return
    dimension = next(d for d, size in enumerate(box.sizes) if size > 1)
    rows = box.sizes[dimension]
    step = max(1, elements * rows // box.elements)
    for first in range(0, rows, step):
        piece = Box(
            _with(box.offsets, dimension, box.offsets[dimension] + first),
            _with(box.sizes, dimension, min(step, rows - first)),
        )
        yield from cut(piece, elements=elements)


def tile(boxes: Sequence[Box], shape: Sequence[int]) -> bool:
    """Whether every element of a tensor of this shape is in exactly one of the boxes."""
    if not all(box.fits(shape) for box in boxes):
        return False
    filled = [box for box in boxes if box.elements]
    return sum(box.elements for box in filled) == math.prod(shape) and _disjoint(filled)


def _disjoint(boxes: list[Box]) -> bool:
    """A sweep along the dimension in which the boxes begin at the most places."""
    if len(boxes) < 2 or not boxes[0].sizes:
        return len(boxes) < 2
    dimensions = range(len(boxes[0].sizes))
    along = max(dimensions, key=lambda d: len({box.offsets[d] for box in boxes}))
    open_boxes: list[Box] = []
    for box in sorted(boxes, key=lambda one: one.offsets[along]):
        start = box.offsets[along]
        open_boxes = [one for one in open_boxes if one.offsets[along] + one.sizes[along] > start]
        if any(box.overlap(one) for one in open_boxes):
            return False
        open_boxes.append(box)
    return True


def _with(values: tuple[int, ...], place: int, value: int) -> tuple[int, ...]:
    return (*values[:place], value, *values[place + 1 :])
