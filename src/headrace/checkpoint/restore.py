"""Load a checkpoint, every byte verified, and go on from the newest one that is whole."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch

from headrace.checkpoint.dtypes import TORCH_DTYPES
from headrace.checkpoint.errors import CheckpointNotFound, DamagedCheckpoint, NoneUsable
from headrace.checkpoint.folder import candidates
from headrace.checkpoint.manifest import TensorEntry, read_manifest
from headrace.checkpoint.shard import ShardReader
from headrace.checkpoint.state import Json, from_json


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A verified checkpoint. Tied names share one tensor. All tensors are on the CPU.

    ``skipped``: newer checkpoints that are damaged, and why.
    """

    step: int
    path: Path
    tensors: dict[str, torch.Tensor]
    state: dict[str, Json]
    skipped: tuple[tuple[Path, str], ...] = field(default=())


def load(path: Path) -> Loaded:
    """Load one checkpoint. Raise ``CheckpointNotFound`` or ``DamagedCheckpoint``."""
    if not path.is_dir():
        raise CheckpointNotFound(path)
    manifest = read_manifest(path)
    with ExitStack() as stack:
        readers = {
            name: stack.enter_context(ShardReader(path, name, file))
            for name, file in manifest.files.items()
        }
        tensors = {
            name: _read_tensor(name, entry, readers) for name, entry in manifest.tensors.items()
        }
    for name, stored in manifest.aliases.items():
        tensors[name] = tensors[stored]
    state = from_json(cast(dict[str, Json], manifest.state))
    return Loaded(
        step=manifest.step, path=path, tensors=tensors, state=cast(dict[str, Json], state)
    )


def load_newest(root: Path) -> Loaded | None:
    """The newest checkpoint below ``root`` that is whole, or None when there is none at all.

    Newest is the highest step: to go back further, move the newer ones away. Changes nothing, so
    that any rank may call it; but let one rank choose and the others ``load`` the same.

    Raise ``NoneUsable`` when there are some and all are damaged.
    """
    skipped: list[tuple[Path, str]] = []
    for path in candidates(root):
        try:
            found = load(path)
        except DamagedCheckpoint as error:
            skipped.append((path, error.reason))
        else:
            return Loaded(
                step=found.step,
                path=path,
                tensors=found.tensors,
                state=found.state,
                skipped=tuple(skipped),
            )
    if skipped:
        raise NoneUsable(root, skipped)
    return None


def _read_tensor(name: str, entry: TensorEntry, readers: dict[str, ShardReader]) -> torch.Tensor:
    dtype = TORCH_DTYPES[entry.dtype]
    whole: torch.Tensor | None = None
    for chunk in entry.chunks:
        data = torch.empty(chunk.stop - chunk.start, dtype=torch.uint8)
        readers[chunk.file].read_into(name, data.numpy().data, chunk.start, chunk.xxh3_128)
        box = data.view(dtype).view(chunk.sizes)
        if chunk.sizes == entry.shape:
            return box
        if whole is None:
            whole = torch.empty(entry.shape, dtype=dtype)
        _part(whole, chunk.offsets, chunk.sizes).copy_(box)
    assert whole is not None, "the manifest says that the chunks are all of the tensor"
    return whole


def _part(tensor: torch.Tensor, offsets: Sequence[int], sizes: Sequence[int]) -> torch.Tensor:
    for dimension, (offset, size) in enumerate(zip(offsets, sizes, strict=True)):
        tensor = tensor.narrow(dimension, offset, size)
    return tensor
