"""Batches onto this rank's device: arrays, tensors, and mappings or tuples of them.

On a GPU nothing waits for the copy: the host's memory, pinned, is held until the copy is done,
since the reader fills it again when nobody holds it.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from headrace.data.buffers import Memory
from headrace.train.errors import BatchNotArrays

Tree = Any
"""A tensor, or a dict or tuple of trees. All tensors have the samples in dimension 0."""


class Mover:
    """Moves batches to one device. Samples of token sets arrive as int64."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._on_its_way: deque[tuple[torch.cuda.Event, object]] = deque()

    def __call__(self, samples: object, *, tokens: bool) -> Tree:
        """Raise ``BatchNotArrays``."""
        if self._device.type != "cuda":
            return _tree(samples, _as_tokens if tokens else _as_is)
        while self._on_its_way and self._on_its_way[0][0].query():  # type: ignore[no-untyped-call]
            self._on_its_way.popleft()
        moved = _tree(samples, self._tokens_to_gpu if tokens else self._to_gpu)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()
        self._on_its_way.append((done, samples))
        return moved

    def _to_gpu(self, host: torch.Tensor) -> torch.Tensor:
        return host.to(self._device, non_blocking=True)

    def _tokens_to_gpu(self, host: torch.Tensor) -> torch.Tensor:
        """In the width of the file, widened there: a quarter of the bytes to copy. Few operations
        know unsigned tensors, so the bits travel as signed ones."""
        signed = torch.int16 if host.dtype == torch.uint16 else torch.int32
        mask = 0xFFFF if host.dtype == torch.uint16 else 0xFFFF_FFFF
        return self._to_gpu(host.view(signed)).to(torch.int64) & mask


def pinned(size_bytes: int) -> Memory:
    """Memory that a GPU copies from by itself."""
    memory: Memory = torch.empty(size_bytes, dtype=torch.uint8, pin_memory=True).numpy()
    return memory


def split(tree: Tree, size: int) -> list[Tree]:
    """Parts of ``size`` samples, the last one shorter."""
    if isinstance(tree, torch.Tensor):
        return list(torch.split(tree, size))
    if isinstance(tree, Mapping):
        parts = zip(*(split(one, size) for one in tree.values()), strict=True)
        return [dict(zip(tree, part, strict=True)) for part in parts]
    return list(zip(*(split(one, size) for one in tree), strict=True))


def samples_in(tree: Tree) -> int:
    """Size of dimension 0."""
    while not isinstance(tree, torch.Tensor):
        tree = next(iter(tree.values() if isinstance(tree, Mapping) else tree))
    return len(tree)


def _tree(samples: object, move: Any) -> Tree:  # noqa: ANN401 - tensor to tensor
    if isinstance(samples, torch.Tensor):
        return move(samples)
    if isinstance(samples, np.ndarray) and samples.dtype != object:
        return move(torch.from_numpy(samples))
    if isinstance(samples, Mapping) and samples:
        return {name: _tree(one, move) for name, one in samples.items()}
    if isinstance(samples, tuple) and samples:
        return tuple(_tree(one, move) for one in samples)
    raise BatchNotArrays(type(samples).__name__)


def _as_is(host: torch.Tensor) -> torch.Tensor:
    return host


def _as_tokens(host: torch.Tensor) -> torch.Tensor:
    return host.to(torch.int64)
