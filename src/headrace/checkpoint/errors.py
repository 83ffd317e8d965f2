"""Errors of checkpoints.

HeadraceError
+-- CheckpointNotFound   001  exit 3  there is no checkpoint at this path
+-- DamagedCheckpoint    002  exit 1  bytes are not those that were written
+-- NoneUsable           003  exit 1  there are checkpoints, and every one is damaged
+-- NotSaveable          004  exit 2  the state holds what a checkpoint cannot
+-- IncompleteSave       005  exit 1  a rank's part of a checkpoint is missing or does not fit
+-- BadSafetensors       006  exit 1  a file that others wrote is not safetensors as it should be
+-- OutputInUse          007  exit 4  what is to be written is there already
+-- NoSuchModel          008  exit 2  a checkpoint holds several models, or not this one
+-- FileRefused          009  exit 1  the system does not let us read or write
"""

import os
from collections.abc import Sequence
from pathlib import Path

from headrace.core.errors import HeadraceError, NotFound, Refused, UsageError


class CheckpointNotFound(NotFound):
    """There is no checkpoint at this path."""

    code = "HR-CKPT-001"

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: no such checkpoint",
            why="a checkpoint is a folder named step-<number>, or a folder of such folders",
            remedy=f"see what there is: headrace checkpoint ls {path.parent}",
        )
        self.path = path


class DamagedCheckpoint(HeadraceError):
    """Bytes of a checkpoint are not those that were written. Nothing of it was returned."""

    code = "HR-CKPT-002"

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path}: the checkpoint is damaged: {reason}",
            why="every byte of a checkpoint has a hash, and it is checked before use",
            remedy=f"load an older one; headrace checkpoint ls {path.parent} shows them",
        )
        self.path = path
        self.reason = reason


class NoneUsable(HeadraceError):
    """There are checkpoints, but every one is damaged. Training does not silently start anew."""

    code = "HR-CKPT-003"

    def __init__(self, root: Path, skipped: Sequence[tuple[Path, str]]) -> None:
        listed = "; ".join(f"{path.name}: {reason}" for path, reason in skipped)
        super().__init__(
            f"{root}: none of {len(skipped)} checkpoints can be used ({listed})",
            why="starting from nothing would throw away what was trained without saying so",
            remedy=f"mend the storage, or move {root} away to start from nothing",
        )
        self.root = root
        self.skipped = tuple(skipped)


class NotSaveable(UsageError):
    """The state holds something that a checkpoint cannot hold."""

    code = "HR-CKPT-004"

    def __init__(self, where: str, what: str, *, takes: str) -> None:
        super().__init__(
            f"{where} is {what}, which a checkpoint cannot hold",
            why="nothing is pickled, so that a checkpoint can be read by any program and never "
            "runs code",
            remedy=takes,
        )
        self.where = where


class IncompleteSave(HeadraceError):
    """Not all ranks have written their part of a checkpoint: it is not committed."""

    code = "HR-CKPT-005"

    def __init__(self, step: int, rank: int, reason: str) -> None:
        super().__init__(
            f"step {step} was not saved: rank {rank}: {reason}",
            why="a checkpoint is committed when every rank has written and read back its part",
            remedy="training goes on and saves again at the next interval; "
            "see that rank's log, and whether its node can write to the run directory",
        )
        self.step = step
        self.rank = rank
        self.reason = reason


class BadSafetensors(HeadraceError):
    """A file that others wrote is not what it should be. Nothing of it was used."""

    code = "HR-CKPT-006"

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path}: not a safetensors file to rely on: {reason}",
            why="every byte must belong to exactly one tensor, as the header says",
            remedy="fetch the file again, and compare its size or hash with the source's",
        )
        self.path = path
        self.reason = reason


class OutputInUse(Refused):
    """Nothing that exists is written over."""

    code = "HR-CKPT-007"

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is there already",
            why="a checkpoint or a model is never mixed with, or written over, another",
            remedy="name another folder with --out, or move that one away",
        )
        self.path = path


class NoSuchModel(UsageError):
    """A checkpoint holds several models, or not the one that was named."""

    code = "HR-CKPT-008"

    def __init__(self, path: Path, wanted: str | None, models: Sequence[str]) -> None:
        asked = "no model is named" if wanted is None else f'there is no model "{wanted}"'
        super().__init__(
            f"{path}: {asked}; it holds {', '.join(models) or 'none'}",
            why="one model is exported at a time",
            remedy=f"--model {models[0]}" if models else "export a checkpoint that holds a model",
        )
        self.path = path


class FileRefused(HeadraceError):
    """The system refused to read or write a file or a folder."""

    code = "HR-CKPT-009"

    def __init__(self, error: OSError) -> None:
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        super().__init__(
            f"{where}{error.strerror or error}",
            why="the disk is full or gone, or this user may not read or write there; nothing that "
            "is not whole was left behind",
            remedy="free space, or name a folder where you may write",
        )
