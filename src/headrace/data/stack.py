"""Samples to a batch: what ``collate`` does unless told otherwise; torch and JAX views."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.data.errors import NotStackable, PackageMissing

Tree = Any
"""An array, or a dict or tuple of trees. All arrays have the samples in dimension 0."""


def stack(samples: Sequence[Any]) -> Tree:
    """Arrays and numbers side by side in a new dimension 0, fields and places of a tuple each for
    themselves. Raise ``NotStackable`` for anything else, for shapes, fields or kinds that differ,
    and for integers that no type holds together."""
    first = samples[0]
    if isinstance(first, Mapping):
        _alike(samples, Mapping, lambda sample: sorted(map(str, sample)), "fields")
        return {name: stack([sample[name] for sample in samples]) for name in first}
    if isinstance(first, tuple):
        _alike(samples, tuple, len, "places")
        return tuple(stack(column) for column in zip(*samples, strict=True))
    for sample in samples:
        if isinstance(sample, bytes | bytearray | memoryview | str):
            raise NotStackable(type(sample).__name__)
    try:
        arrays = [_array(sample) for sample in samples]
        stacked = _in_one_type(arrays)
    except (ValueError, OverflowError) as error:
        raise NotStackable(f"arrays: {error}") from error
    if stacked.dtype.kind in "OSU":
        raise NotStackable(type(first).__name__)
    return stacked


def _alike(samples: Sequence[Any], kind: type, trait: Callable[[Any], object], what: str) -> None:
    wanted = trait(samples[0])
    for sample in samples:
        if not isinstance(sample, kind):
            raise NotStackable(f"{type(samples[0]).__name__} and {type(sample).__name__}")
        if trait(sample) != wanted:
            raise NotStackable(f"different {what}: {wanted} and {trait(sample)}")


def _array(sample: object) -> NDArray[Any]:
    """NumPy makes floats of a list with integers on both sides of 2**63."""
    array = np.asarray(sample)
    if isinstance(sample, list) and array.dtype == np.float64 and (array >= 2**63).any():
        exact = np.asarray(sample, object)
        if all(isinstance(one, int) for one in exact.flat):
            return exact.astype(np.uint64)
    return array


def _in_one_type(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """As ``np.stack``, which makes floats of signed and unsigned integers of 64 bits."""
    stacked = np.stack(arrays)
    if stacked.dtype.kind != "f" or any(array.dtype.kind not in "biu" for array in arrays):
        return stacked
    if any(array.dtype.kind == "i" and (array < 0).any() for array in arrays):
        raise ValueError("no type holds integers below 0 and of 2**63 or more")
    return np.stack([array.astype(np.uint64) for array in arrays])


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
