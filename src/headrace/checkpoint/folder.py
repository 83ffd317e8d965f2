"""Names inside a folder of checkpoints, and which of them are there. No torch.

::

    step-000000123/                    committed: written, flushed, verified, then renamed to this
    .step-000000124.tmp-<writer>/      being written
    .step-000000123.old-<writer>/      the one a new step-000000123 is about to replace
    latest                             the name of the newest committed one, for people and scripts

``<writer>`` is the writer's process (boot id, pid, start time), so that leftovers of a dead one can
be told from a living one's work; of several ranks it is the one that commits, and the number of the
save follows.
"""

import contextlib
import os
import re
import shutil
from pathlib import Path

from headrace.core.process import Process, identify, is_alive
from headrace.core.records import sync_folder

LATEST = "latest"

_COMMITTED = re.compile(r"step-(\d{9}|[1-9]\d{9,})", re.ASCII)
_HIDDEN = re.compile(
    r"\.(?P<name>step-\d{9,})\.(?P<kind>tmp|old)-"
    r"(?P<boot_id>[0-9a-f-]{36})_(?P<pid>\d+)_(?P<ticks>\d+)"
    r"(?:-[\d.]+)?(?:\.dead)?"
)


def step_name(step: int) -> str:
    return f"step-{step:09d}"


def step_of(path: Path) -> int | None:
    """The step of a committed checkpoint's folder, or None when it is not named as one."""
    found = _COMMITTED.fullmatch(path.name)
    return int(found[1]) if found else None


def committed(root: Path) -> list[Path]:
    """Folders of committed checkpoints, newest first; an absent ``root`` has none."""
    return [path for _, path in sorted(_steps(root), reverse=True)]


def candidates(root: Path) -> list[Path]:
    """What to load from, newest first: the committed ones, and one that was set aside by a writer
    that died before it had put the new one of the same step in its place."""
    found = _steps(root)
    there = {step for step, _ in found}
    for path in root.iterdir() if root.is_dir() else ():
        hidden = _HIDDEN.fullmatch(path.name)
        if hidden is not None and hidden["kind"] == "old":
            step = step_of(root / hidden["name"])
            if step is not None and step not in there:
                found.append((step, path))
    return [path for _, path in sorted(found, reverse=True)]


def temporary_path(root: Path, step: int, writer: str | None = None) -> Path:
    """``writer``: this process, unless it is another that commits."""
    return root / f".{step_name(step)}.tmp-{writer or this_writer()}"


def leftovers(root: Path, *, but: Path | None) -> list[Path]:
    """What earlier saves of this process, which failed, have left, all ``but`` one."""
    mine = identify(os.getpid())
    return [
        path
        for path in sorted(root.iterdir())
        if path != but and (found := _HIDDEN.fullmatch(path.name))
        if found["kind"] == "tmp" and _writer(found) == mine
    ]


def set_aside_path(root: Path, step: int) -> Path:
    return root / f".{step_name(step)}.old-{this_writer()}"


def recover(root: Path) -> None:
    """Put back what a dead writer had set aside and not replaced, and remove its leftovers.

    A writer on another host, or before the last boot, counts as dead: a folder has one writer at a
    time. Were it alive, its save would fail and be reported.
    """
    for path in sorted(root.iterdir()):
        found = _HIDDEN.fullmatch(path.name)
        if found is None or is_alive(_writer(found)):
            continue
        if found["kind"] == "old" and not (root / found["name"]).exists():
            path.rename(root / found["name"])
        else:
            shutil.rmtree(path, ignore_errors=True)


def saved_step(name: str) -> int | None:
    """The step that a save is of, by the name of its temporary folder."""
    found = _HIDDEN.fullmatch(name)
    return None if found is None else step_of(Path(found["name"]))


def rename_into_place(temporary: Path, path: Path, step: int) -> None:
    """A checkpoint of the same step is set aside first; ``recover`` would put it back."""
    aside = set_aside_path(path.parent, step)
    replaces = path.exists()
    if replaces:
        os.rename(path, aside)
    try:
        os.rename(temporary, path)
    except OSError:
        if replaces:
            os.rename(aside, path)
        raise
    sync_folder(path.parent)
    if replaces:
        shutil.rmtree(aside, ignore_errors=True)


def discard(temporary: Path) -> None:
    """Under another name first: a slow rank then finds no folder to put its files into."""
    dead = temporary.with_name(f"{temporary.name}.dead")
    with contextlib.suppress(OSError):
        os.rename(temporary, dead)
    shutil.rmtree(dead, ignore_errors=True)
    shutil.rmtree(temporary, ignore_errors=True)


def _steps(root: Path) -> list[tuple[int, Path]]:
    if not root.is_dir():
        return []
    steps = [(step_of(path), path) for path in root.iterdir() if path.is_dir()]
    return [(step, path) for step, path in steps if step is not None]


def this_writer() -> str:
    me = identify(os.getpid())
    assert me is not None, "this process exists"
    return f"{me.boot_id}_{me.pid}_{me.start_ticks}"


def _writer(found: re.Match[str]) -> Process:
    return Process(boot_id=found["boot_id"], pid=int(found["pid"]), start_ticks=int(found["ticks"]))


def latest(root: Path) -> str | None:
    """The name that ``latest`` holds, or None. A hint for people: restoring does not need it."""
    try:
        return (root / LATEST).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
