"""Samples to a batch: what ``collate`` does unless told otherwise; torch and JAX views."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from headrace.data.errors import NotStackable, PackageMissing

Tree = Any
"""An array, or a dict or tuple of trees. All arrays have the samples in dimension 0."""


def stack(samples: Sequence[Any]) -> Tree:
    """Arrays and numbers side by side in a new dimension 0, fields and places of a tuple each for
    themselves. Raise ``NotStackable`` for anything else, and for shapes that differ."""
    first = samples[0]
    if isinstance(first, Mapping):
        return {name: stack([sample[name] for sample in samples]) for name in first}
    if isinstance(first, tuple):
        return tuple(stack(column) for column in zip(*samples, strict=True))
    if isinstance(first, bytes | bytearray | memoryview | str):
        raise NotStackable(type(first).__name__)
    try:
        stacked = np.stack([np.asarray(sample) for sample in samples])
    except ValueError as error:
        raise NotStackable(f"arrays: {error}") from error
    if stacked.dtype == object:
        raise NotStackable(type(first).__name__)
    return stacked


def to_torch(batch: Tree) -> Tree:
    """Tensors that share the memory of the batch's arrays. Raise ``PackageMissing``."""
    return _each(batch, _package("torch").from_numpy)


def to_jax(batch: Tree) -> Tree:
    """JAX arrays on its default device. Raise ``PackageMissing``."""
    return _each(batch, _package("jax.numpy").asarray)


def _each(batch: Tree, make: Callable[[Any], Any]) -> Tree:
    if isinstance(batch, Mapping):
        return {name: _each(one, make) for name, one in batch.items()}
    if isinstance(batch, tuple):
        return tuple(_each(one, make) for one in batch)
    return make(batch)


def _package(name: str) -> Any:  # noqa: ANN401 - a module
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.split(".")[0]
        raise PackageMissing(package, f"a batch as {package} arrays", install=package) from error
