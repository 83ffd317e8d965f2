"""From a file of a data set to its copy on this node, if there is a good one; else to the source.

Readers only look: a copy counts when it has the size and the time of change that the source file
has now, so one of an older state is never used. What is read is verified by the index all the same;
a copy whose bytes are wrong is named in ``bad/``, which turns all readers of the node away from it.
"""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from headrace.data.cache.ahead import Ahead
from headrace.data.cache.folder import bad_file, room_bytes

VARIABLE = "HEADRACE_STAGED"
"""In the environment of ranks: JSON of source -> ``CachedSet.root`` of its copies."""


class Copies:
    """The copies of one source, for a data set at ``path``, which is the source or within it."""

    def __init__(
        self, source: Path, root: Path, path: Path, environ: Mapping[str, str] = os.environ
    ) -> None:
        self._root = root
        self._environ = environ
        self._ahead: Ahead | None = None
        inside = os.path.relpath(path, source)
        self._prefix = "" if inside == "." else f"{inside}/"
        self._alone = None if source.is_dir() else source.name
        self._bad: set[str] = set()

    def __call__(self, name: str, path: Path) -> Path:
        """Where to read the file that the index calls ``name`` and that lies at ``path``."""
        found = self._name(name)
        copy = self._root / "tree" / found
        try:
            here = copy.stat()
        except OSError:
            return path
        if found in self._bad or bad_file(self._root, found).exists():
            return path
        try:
            there = path.stat()
        except OSError:  # gone: what we have is all there is
            return copy
        same = (here.st_size, here.st_mtime_ns) == (there.st_size, there.st_mtime_ns)
        return copy if same else path

    @property
    def go_with_the_order(self) -> bool:
        """Whether only some files have copies."""
        return room_bytes(self._root) is not None

    def ahead(self, names: Sequence[str]) -> None:
        """The files that are needed from now on, in order, each once. Does not wait. The first rank
        of a node is heard."""
        if self._environ.get("LOCAL_RANK", "0") != "0":
            return
        if self._ahead is None:
            self._ahead = Ahead(self._root, run_id=self._environ.get("HEADRACE_RUN_ID", ""))
        self._ahead.wants([self._name(name) for name in names])

    def distrust(self, name: str) -> None:
        """Its bytes are not those that were indexed: use it no more, on the whole node."""
        found = self._name(name)
        self._bad.add(found)
        with contextlib.suppress(OSError):  # a full disk: then each reader finds out for itself
            bad_file(self._root, found).touch()

    def _name(self, name: str) -> str:
        """In the tree of copies. ``name`` is "." for a data set that is one file."""
        if self._alone is not None:
            return self._alone
        return self._prefix.rstrip("/") if name == "." else self._prefix + name


def copies_of(path: Path, environ: Mapping[str, str] = os.environ) -> Copies | None:
    """Those that were staged for this run, of the source that ``path`` is or lies in."""
    real = Path(os.path.realpath(path))
    for source, root in _staged(environ):
        near = Path(os.path.realpath(source))
        if real == near or near in real.parents:
            return Copies(near, root, real, environ)
    return None


def source_of(path: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """What ``path`` is a copy of, if it was staged for this run and its source is there; else
    ``path``. A copy has no index of its own, and nothing to be compared with."""
    real = Path(os.path.realpath(path))
    for source, root in _staged(environ):
        tree = Path(os.path.realpath(root / "tree"))
        if real == tree or tree in real.parents:
            origin = Path(source)
            origin = origin / real.relative_to(tree) if origin.is_dir() else origin
            return origin if origin.exists() else path
    return path


def _staged(environ: Mapping[str, str]) -> list[tuple[str, Path]]:
    """(source, ``CachedSet.root`` of its copies)."""
    text = environ.get(VARIABLE)
    return [(source, Path(root)) for source, root in json.loads(text).items()] if text else []
