"""Versions of what the ranks will import, from the names of folders: nothing is imported or run.

The Python looked at is the program's own, if it is one, else the first on its PATH. A program that
activates another environment by itself is not seen through.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_PACKAGES = {"torch": "torch", "NCCL": r"nvidia_nccl_cu\d+"}
_PYTHON = re.compile(r"python3?(\.\d+)?")
_CONTAINERS, _AMONG = ("apptainer", "singularity", "enroot"), 8
_DRIVER = Path("/proc/driver/nvidia/version")


def versions(argv: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Of Headrace, the NVIDIA driver, and the Python that ``argv`` starts or finds."""
    found = {"headrace": str(sys.modules["headrace"].__version__)}  # imports nothing above us
    if (driver := driver_version(_DRIVER)) is not None:
        found["NVIDIA driver"] = driver
    if any(Path(word).name in _CONTAINERS for word in argv[:_AMONG]):
        return found  # one image has one Python
    python = find_python(argv, environment.get("PATH", os.defpath))
    return found if python is None else found | python_versions(python)


def driver_version(path: Path) -> str | None:
    """ "535.161.08" in "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.161.08  ..."."""
    try:
        named = re.search(r"Module\s+(?:for \S+\s+)?(\d+[\d.]*)", path.read_text())
    except OSError:
        return None
    return named[1] if named else None


def find_python(argv: Sequence[str], path: str) -> Path | None:
    """Links are not followed: where a venv's python lies says where its packages are."""
    first = Path(argv[0]) if argv else Path()
    names = [first.name] if _PYTHON.fullmatch(first.name) else ["python", "python3"]
    folders = (
        [first.parent]
        if first.is_absolute() and first.name == names[0]
        else [Path(folder) for folder in path.split(os.pathsep) if folder]
    )
    found = (folder / name for name in names for folder in folders)
    return next((one for one in found if os.access(one, os.X_OK)), None)


def python_versions(python: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for folder in _site_packages(python.parent.parent):
        found.setdefault("Python", folder.parent.name.removeprefix("python"))
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for what, package in _PACKAGES.items():
            for name in names:
                if match := re.fullmatch(rf"{package}-(\d.*)\.dist-info", name):
                    found.setdefault(what, match[1])
    return found


def _site_packages(prefix: Path) -> Iterator[Path]:
    """That of the version in use first: a prefix may have several."""
    ours = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for root in (prefix, prefix / "local"):
        folders = sorted(root.glob("lib/python3.*"), key=lambda one: (one.name != ours, one.name))
        for folder in folders:
            yield from (folder / kind for kind in ("site-packages", "dist-packages"))
    yield prefix / "lib/python3/dist-packages"
