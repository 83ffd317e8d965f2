"""A corpus that is on every machine: the Python standard library's own source files.

Packed once into a folder and found there again as long as the library is the same. The last part
of the samples is held out.
"""

import hashlib
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace import data

_TEST_FOLDERS = frozenset({"test", "tests", "idle_test"})
_NEVER = frozenset({"site-packages", "dist-packages", "__pycache__"})
HELD_OUT = 0.02  # a few seconds of evaluation


@dataclass(frozen=True)
class Corpus:
    """Two disjoint parts of one file."""

    path: Path
    train: data.Dataset
    held_out: data.Dataset


def standard_library(*, tests: bool = False) -> list[Path]:
    """Its ``.py`` files, sorted; with ``tests`` also those of its test suite."""
    root = Path(sysconfig.get_path("stdlib"))
    left_out = _NEVER if tests else _NEVER | _TEST_FOLDERS
    return sorted(
        path
        for path in root.rglob("*.py")
        if not left_out.intersection(path.relative_to(root).parts) and path.is_file()
    )


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where the corpus is kept between runs: ``$XDG_CACHE_HOME/headrace/corpora``."""
    cache = environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "headrace" / "corpora"


def pack_standard_library(folder: Path, *, window: int, tests: bool = False) -> Path:
    """The packed file in ``folder``, made unless it is there. Raise ``PackFailed``."""
    files = standard_library(tests=tests)
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / f"python-{_fingerprint(files)}-{window}.tokens"
    if not out.exists():
        data.pack_text(files, out, window=window)
    return out


def open_corpus(path: Path) -> Corpus:
    """Raise ``DataNotFound``, ``NotADataset``, ``DamagedData``."""
    return Corpus(
        path=path,
        train=data.open(path, split=(0.0, 1.0 - HELD_OUT)),
        held_out=data.open(path, split=(1.0 - HELD_OUT, 1.0)),
    )


def _fingerprint(files: list[Path]) -> str:
    """Names, sizes and times of the files: enough to see another or a changed library."""
    digest = hashlib.blake2b(digest_size=8)
    for path in files:
        found = path.stat()
        digest.update(f"{path}|{found.st_size}|{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()
