"""What each of several ranks wrote of one checkpoint, and putting it together. No torch.

Every rank writes its shards into the one temporary folder, reads them back, and only then puts its
part there: a record of what it wrote, under a hash of its own. The rank that commits waits for the
parts of this very save, and makes the manifest of them. Nothing needs a lock, or a collective in a
background thread; other hosts may see a new file late, never half of one: it is renamed into place.
"""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from headrace.checkpoint.errors import IncompleteSave
from headrace.checkpoint.manifest import (
    VERSION,
    FileEntry,
    Manifest,
    TensorEntry,
    fault_of,
    seal,
    unseal,
)
from headrace.core.records import DecodeError, Record, decode, encode, replace, write_file

PARTS = "parts"
_KIND = "part"
_LOOK_S = (0.005, 0.25)  # between two looks at first, and at last


class Part(Record, frozen=True, kw_only=True):
    """``save``: which save it is of. ``files`` and chunks are those of this rank; ``tensors`` are
    all that it knows of, also those of which it wrote nothing. ``failure``: not empty when it could
    not write its part; the rest is then empty. ``state``: in memory only, with rank 0's part."""

    save: str
    rank: int
    files: dict[str, FileEntry]
    tensors: dict[str, TensorEntry]
    aliases: dict[str, str]
    failure: str = ""
    state: dict[str, object] | None = None


def part_path(folder: Path, rank: int) -> Path:
    return folder / PARTS / _name(rank)


def read_parts(folder: Path) -> list[Part]:
    """All that are there, as they were written. Raise ``OSError``, ``DecodeError``."""
    found = []
    for name in sorted(_listed(folder / PARTS)):
        if name.startswith("."):  # not yet renamed, or never when its writer was killed
            continue
        body = unseal(_KIND, (folder / PARTS / name).read_bytes())
        if body is not None:
            found.append(decode(body, Part))
    return found


def write_part(folder: Path, part: Part) -> None:
    """Put it there durably. Raise ``OSError``."""
    (folder / PARTS).mkdir(exist_ok=True)
    write_file(folder / PARTS / _name(part.rank), seal(_KIND, encode(part)))


def withdraw(folder: Path, *, save: str, rank: int, files: Sequence[str], reason: str) -> None:
    """Remove what this rank wrote and tell the others why it failed, if that is still possible."""
    for name in files:
        with contextlib.suppress(OSError):
            os.unlink(folder / name)
    none = Part(save=save, rank=rank, files={}, tensors={}, aliases={}, failure=reason)
    with contextlib.suppress(OSError):
        write_part(folder, none)


def wait_for_parts(
    folder: Path, *, step: int, save: str, ranks: Sequence[int], patience_s: Callable[[], float]
) -> list[Part]:
    """The parts of ``ranks``, when all are there. ``patience_s``: how long to wait; asked anew.

    Raise ``IncompleteSave`` when one failed, is not what was written, or did not come.
    """
    found: dict[int, Part] = {}
    start_s = time.monotonic()
    look_s, longest_s = _LOOK_S
    while missing := [rank for rank in ranks if rank not in found]:
        there = _listed(folder / PARTS)  # opening a folder, not a name, makes NFS look anew
        for rank in missing:
            if _name(rank) in there:
                found[rank] = _read_part(folder, step=step, save=save, rank=rank)
        waited_s = time.monotonic() - start_s
        if len(found) < len(ranks) and waited_s > patience_s():
            first = next(rank for rank in ranks if rank not in found)
            raise IncompleteSave(step, first, f"it has not written its part in {waited_s:.0f} s")
        if len(found) < len(ranks):
            time.sleep(look_s)
            look_s = min(2 * look_s, longest_s)
    return [found[rank] for rank in ranks]


def merge(parts: Sequence[Part], *, step: int, state: dict[str, object]) -> Manifest:
    """The manifest of a whole checkpoint. Raise ``IncompleteSave`` unless the parts fit together.

    A name that a rank calls an alias is one for all: a rank that holds nothing of it cannot tell.
    """
    aliases = {name: stored for part in parts for name, stored in part.aliases.items()}
    tensors: dict[str, TensorEntry] = {}
    files: dict[str, FileEntry] = {}
    for part in parts:
        for name, entry in part.tensors.items():
            known = tensors.get(name)
            if known is None:
                tensors[name] = entry
            elif (known.shape, known.dtype) != (entry.shape, entry.dtype):
                here, there = f"{entry.dtype}{[*entry.shape]}", f"{known.dtype}{[*known.shape]}"
                raise IncompleteSave(step, part.rank, f"{name} is {here} there and {there} before")
            else:
                tensors[name] = replace(known, chunks=known.chunks + entry.chunks)
        files |= part.files
    for name in aliases:
        if name in tensors and not tensors[name].chunks:
            del tensors[name]
    manifest = Manifest(
        version=VERSION, step=step, files=files, tensors=tensors, aliases=aliases, state=state
    )
    fault = fault_of(manifest)
    if fault:
        raise IncompleteSave(step, parts[-1].rank, fault)
    return manifest


def _check_lengths(folder: Path, part: Part, *, step: int) -> None:
    """Whether the shards of another rank are there. Raise ``IncompleteSave``."""
    for name, entry in part.files.items():
        try:
            size_bytes = (folder / name).stat().st_size
        except OSError as error:
            raise IncompleteSave(step, part.rank, f"{name}: {error.strerror}") from error
        if size_bytes != entry.size_bytes:
            reason = f"{name} has {size_bytes} bytes, not {entry.size_bytes}"
            raise IncompleteSave(step, part.rank, reason)


def _read_part(folder: Path, *, step: int, save: str, rank: int) -> Part:
    try:
        body = unseal(_KIND, (folder / PARTS / _name(rank)).read_bytes())
        part = None if body is None else decode(body, Part)
    except (OSError, DecodeError) as error:
        raise IncompleteSave(step, rank, f"its part cannot be read: {error}") from error
    if part is None or (part.save, part.rank) != (save, rank):
        raise IncompleteSave(step, rank, "its part is damaged, or of another save")
    if part.failure:
        raise IncompleteSave(step, rank, part.failure)
    _check_lengths(folder, part, step=step)
    return part


def _listed(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except FileNotFoundError:
        return set()


def _name(rank: int) -> str:
    return f"rank-{rank:05d}.json"
