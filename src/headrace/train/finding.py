"""Which checkpoint to go on from: the newest that every rank can load, in memory or on the disk.

Rank 0 names one after the other, newest first, and all try. What is in memory is known by its save,
not by its step alone: a step may have been saved twice.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from headrace import checkpoint
from headrace.checkpoint.errors import CheckpointNotFound, DamagedCheckpoint, NoneUsable
from headrace.checkpoint.folder import committed, recover, step_name, step_of
from headrace.checkpoint.memory import snapshots
from headrace.train.errors import CheckpointUnseen
from headrace.train.group import Group
from headrace.train.layout import Layout

_NONE = -1
_DISK = 0
_KEY_BYTES = 6  # what a float of a sum over the ranks holds exactly


class _Candidate(NamedTuple):
    """``save``: which one in memory, or ``_DISK``."""

    step: int
    save: int


@dataclass(frozen=True, kw_only=True)
class Found:
    """``loaded`` None: there is none, training starts anew. ``slot``: where it lies in memory.
    ``damaged``: those on the disk that were passed over. ``warnings``: of this rank."""

    loaded: checkpoint.Loaded | None = None
    slot: int | None = None
    damaged: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def find(
    root: Path, memory: Path | None, *, group: Group, layout: Layout, start: Path | None = None
) -> Found:
    """The same on all ranks. ``start``: what to restore when there is none.

    Raise ``NoneUsable``, ``CheckpointUnseen``; ``CheckpointNotFound`` or ``DamagedCheckpoint`` of
    ``start``.
    """
    staged = {} if memory is None else {_key(save): path for _, save, path in snapshots(memory)}
    candidates = _candidates(root, memory) if group.rank == 0 else iter(())
    skipped: list[tuple[Path, str]] = []
    warnings: list[str] = []
    while True:
        step, save = next(candidates, _Candidate(_NONE, _DISK))
        step, save = group.from_first(step), group.from_first(save)
        if step == _NONE:
            break
        path = root / step_name(step) if save == _DISK else staged.get(save)
        loaded, reason = (None, "") if path is None else _load(path, layout)
        if save == _DISK:
            unseen = group.lowest_rank(path is None or not path.is_dir())
            if unseen is not None:
                raise CheckpointUnseen(rank=unseen, step=step, root=root)
        failed = group.lowest_rank(loaded is None)
        if failed is None:
            slot = None if save == _DISK or path is None else int(path.name)
            damaged = [one for one, _ in skipped]
            return Found(loaded=loaded, slot=slot, damaged=damaged, warnings=warnings)
        if failed == group.rank and reason:
            what = step_name(step) if save == _DISK else f"{step_name(step)} in memory"
            warnings.append(f"{what} is damaged and was passed over: {reason}")
        if save == _DISK and path is not None:
            skipped.append((path, reason or f"rank {failed} found it damaged"))
    if skipped:
        raise NoneUsable(root, skipped)
    loaded = None if start is None else _load_start(start, group, layout)
    return Found(loaded=loaded, warnings=warnings)


def _load_start(path: Path, group: Group, layout: Layout) -> checkpoint.Loaded:
    """``path``, or the newest checkpoint in it that rank 0 sees: another run may be saving there,
    and its ranks must not choose each for itself."""
    if step_of(path) is None:
        try:
            inside = committed(path) if group.rank == 0 else []
        except OSError as error:
            raise DamagedCheckpoint(path, f"it cannot be read: {error.strerror}") from error
        step = group.from_first(step_of(inside[0]) or 0 if inside else _NONE)
        path = path if step == _NONE else path / step_name(step)
    loaded, reason = _load(path, layout)
    if group.lowest_rank(not path.is_dir()) is not None:
        raise CheckpointNotFound(path)
    damaged = group.lowest_rank(loaded is None)
    if loaded is None or damaged is not None:
        raise DamagedCheckpoint(path, reason or f"rank {damaged} found it damaged")
    return loaded


def _candidates(root: Path, memory: Path | None) -> Iterator[_Candidate]:
    """What rank 0 sees, newest first, and of the same step that in memory."""
    found = []
    if memory is not None:
        found = [_Candidate(step, _key(save)) for step, save, _ in snapshots(memory)]
    if root.is_dir():
        with suppress(OSError):  # of a root that cannot be written to the Saver will tell
            recover(root)
        found += [_Candidate(step_of(path) or 0, _DISK) for path in committed(root)]
    yield from sorted(found, reverse=True)


def _key(save: str) -> int:
    return int.from_bytes(sha256(save.encode()).digest()[:_KEY_BYTES], "big") | 1


def _load(path: Path, layout: Layout) -> tuple[checkpoint.Loaded | None, str]:
    try:
        return checkpoint.load(path, wanted=layout.wanted), ""
    except DamagedCheckpoint as error:
        return None, error.reason
    except CheckpointNotFound:
        return None, "it is not there"
