"""A copy of the code as it was when a run was submitted, for its first start and all later ones.

Of a git repository: all files that git knows or would add, as they are in the working folder, from
its top. Of another folder: all but hidden folders and caches. ``code.json`` beside the copy says
where it is from, of which commit, and whether something was not committed.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.core.errors import Refused
from headrace.core.process import CommandFailed, run
from headrace.core.records import Record, read_record, write_record

if TYPE_CHECKING:
    from headrace.spec.job import JobSpec

SIZE_MAX_BYTES, FILES_MAX = 256 << 20, 20_000
_SHOWN = 3
_MIB = 1 << 20
_CACHES = ("__pycache__", "node_modules")


class Code(Record, frozen=True, kw_only=True):
    """``workdir``: that of the run, inside the copy. ``commit``: None where there is no git."""

    source: str
    workdir: str
    commit: str | None
    dirty: bool
    files: int
    size_bytes: int


class CodeTooLarge(Refused):
    """The folder holds more than code."""

    code = "HR-ENGINE-004"

    def __init__(self, source: Path, sizes: list[tuple[int, str]]) -> None:
        total = sum(size for size, _ in sizes)
        large = ", ".join(
            f"{name} ({size / _MIB:.0f} MiB)" for size, name in sorted(sizes)[: -_SHOWN - 1 : -1]
        )
        super().__init__(
            f"{source} is too large for a snapshot: {len(sizes)} files, {total / _MIB:.0f} MiB",
            why=f"at most {FILES_MAX} files and {SIZE_MAX_BYTES / _MIB:.0f} MiB are copied; the "
            f"largest are {large}",
            remedy="name data and results in .gitignore, or move them; or leave snapshot out",
        )


def take(workdir: Path, folder: Path, *, apart_from: Path) -> Code:
    """Copy to ``folder``/code. ``apart_from``: where runs are. Raise ``CodeTooLarge``."""
    top = _asked(workdir, "rev-parse", "--show-toplevel")
    source = Path(top) if top else workdir
    names = [
        name for name in _names(source, git=bool(top)) if apart_from not in (source / name).parents
    ]
    sizes = [((source / name).lstat().st_size, name) for name in names]
    if len(sizes) > FILES_MAX or sum(size for size, _ in sizes) > SIZE_MAX_BYTES:
        raise CodeTooLarge(source, sizes)
    copy = folder / "code"
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, copy / name, follow_symlinks=False)
    inside = copy / workdir.resolve().relative_to(source.resolve())
    inside.mkdir(parents=True, exist_ok=True)
    made = Code(
        source=str(source),
        workdir=str(inside),
        commit=_asked(workdir, "rev-parse", "HEAD") if top else None,
        dirty=bool(top) and bool(_asked(source, "status", "--porcelain")),
        files=len(sizes),
        size_bytes=sum(size for size, _ in sizes),
    )
    write_record(folder / "code.json", made)
    return made


def taken(folder: Path) -> Code | None:
    try:
        return read_record(folder / "code.json", Code)
    except FileNotFoundError:
        return None


def running_in(spec: "JobSpec", copy: Code) -> "JobSpec":
    """The job, run in the copy. Its image may not be in there and stays where it is."""
    found = {"workdir": Path(copy.workdir)}
    image = spec.image and str(spec.workdir / spec.image)
    return spec.model_copy(update=found | {"image": image})


def _names(source: Path, *, git: bool) -> Iterator[str]:
    """Of files and links, not of folders: a submodule is a folder to git."""
    if git:
        listed = _asked(source, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        for name in sorted({*(listed or "").split("\0")} - {""}):
            path = source / name
            if path.is_symlink() or path.is_file():  # git also lists what has been deleted
                yield name
        return
    for here, folders, files in os.walk(source):
        folders[:] = sorted(one for one in folders if one[0] != "." and one not in _CACHES)
        yield from (os.path.relpath(os.path.join(here, name), source) for name in sorted(files))


def _asked(folder: Path, *words: str) -> str | None:
    """git's answer; None without git, or outside of its repositories."""
    try:
        return run(["git", "--no-optional-locks", "-C", str(folder), *words]).strip()
    except CommandFailed:
        return None
