"""What decoded samples take in memory is told well enough to bound it."""

import json
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from headrace.data.footprint import footprint


def lines() -> object:
    return [
        json.loads(json.dumps({"ids": list(range(1000, 1050)), "text": f"{n} {'x' * 300}"}))
        for n in range(2000)
    ]


def nested() -> object:
    return [{"a": [{"b": [float(n), float(k)]} for k in range(20)]} for n in range(500)]


def arrays() -> object:
    return [{"ids": np.arange(500) + n} for n in range(1000)]


@pytest.mark.parametrize("make", [lines, nested, arrays])
def test_the_footprint_is_what_was_allocated(make: Callable[[], object]) -> None:
    tracemalloc.start()
    try:
        value = make()
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.7 < footprint(value) / taken_bytes < 1.5


def test_what_is_empty_or_no_container_has_a_footprint_too() -> None:
    values: tuple[object, ...] = ((), [], {}, None, b"", 7)
    for value in values:
        assert 0 < footprint(value) < 100
