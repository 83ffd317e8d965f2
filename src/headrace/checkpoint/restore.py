"""Load a checkpoint, every byte verified, and go on from the newest one that is whole.

A rank may ask for boxes of tensors: then it reads only the chunks that hold some of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import torch

from headrace.checkpoint.box import Box, whole
from headrace.checkpoint.dtypes import TORCH_DTYPES
from headrace.checkpoint.errors import CheckpointNotFound, DamagedCheckpoint, NoneUsable
from headrace.checkpoint.folder import candidates
from headrace.checkpoint.reader import Bytes, CheckpointReader
from headrace.checkpoint.state import Json, from_json

Wanted = Callable[[str, tuple[int, ...]], Box | None]
"""Name and shape of a tensor in the checkpoint -> the box to load of it, or None for all of it."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A verified checkpoint. Tied names share one tensor. All tensors are on the CPU; small ones
    share memory, up to 32 MiB, which is free when none of them is used any more.

    ``boxes``: names of which only a box was asked for and loaded. ``skipped``: newer checkpoints
    that are damaged, and why.
    """

    step: int
    path: Path
    tensors: dict[str, torch.Tensor]
    state: dict[str, Json]
    boxes: dict[str, Box] = field(default_factory=dict)
    skipped: tuple[tuple[Path, str], ...] = field(default=())


def load(path: str | Path, *, wanted: Wanted | None = None) -> Loaded:
    """Load one checkpoint. Raise ``CheckpointNotFound`` or ``DamagedCheckpoint``.

    Without ``wanted`` every file is looked at; with it those that hold some of what is wanted.
    """
    path = Path(path)
    reader = CheckpointReader(path)
    manifest = reader.manifest
    if wanted is None:
        reader.check_headers()
    boxes: dict[str, Box] = {}
    for name, entry in manifest.tensors.items():
        box = None if wanted is None else wanted(name, entry.shape)
        if box is not None:
            boxes[name] = box
    wholes = {name: whole(entry.shape) for name, entry in manifest.tensors.items()}
    tensors = {
        name: _tensor(data, manifest.tensors[name].dtype)
        for name, data in reader.read_all(wholes | boxes).items()
    }
    for name, stored in manifest.aliases.items():
        tensors[name] = tensors[stored]
        if stored in boxes:
            boxes[name] = boxes[stored]
    state = from_json(cast(dict[str, Json], manifest.state))
    return Loaded(
        step=manifest.step,
        path=path,
        tensors=tensors,
        state=cast(dict[str, Json], state),
        boxes=boxes,
    )


def load_newest(root: str | Path) -> Loaded | None:
    """The newest checkpoint below ``root`` that is whole, or None when there is none at all.

    Newest is the highest step: to go back further, move the newer ones away. Changes nothing, so
    that any rank may call it; but let one rank choose and the others ``load`` the same.

    A run may be saving there: one that it deletes meanwhile is not damaged, newer ones are there.

    Raise ``NoneUsable`` when there are some and all are damaged.
    """
    root = Path(root)
    skipped: dict[Path, str] = {}
    while True:
        path = next((one for one in candidates(root) if one not in skipped), None)
        if path is None:
            break
        try:
            found = load(path)
        except (CheckpointNotFound, DamagedCheckpoint) as error:
            if path.is_dir():
                skipped[path] = getattr(error, "reason", "")
        else:
            return replace(found, skipped=tuple(skipped.items()))
    if skipped:
        raise NoneUsable(root, list(skipped.items()))
    return None


def _tensor(data: Bytes, dtype: str) -> torch.Tensor:
    return torch.from_numpy(data.reshape(-1)).view(TORCH_DTYPES[dtype]).view(data.shape[:-1])
