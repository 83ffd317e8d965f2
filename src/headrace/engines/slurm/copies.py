"""What a submission takes along for all its starts: its code, and where its Python is packed."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.core.order import PythonPlace
from headrace.core.records import read_record, write_record
from headrace.engines import code

if TYPE_CHECKING:
    from headrace.spec.job import JobSpec

_GIB = 1 << 30


def pack_python(
    spec: "JobSpec", environment: Mapping[str, str], runs: Path
) -> tuple[PythonPlace | None, tuple[str, ...]]:
    """With notes. Raise ``NoEnvironment``, ``NotPacked``."""
    if spec.stage_python is None:
        return None, ()
    from headrace.engines.packed_python import pack

    packed = pack(spec, spec.stage_python, environment, runs)
    size = f"{packed.size_bytes / _GIB:.2f} GiB"
    return packed, (f"nodes get a copy of {packed.names[0]} as it is now, {size}",)


def take(spec: "JobSpec", folder: Path, *, runs: Path, python: PythonPlace | None) -> None:
    """Into ``folder``, which all elements share. Raise ``CodeTooLarge``."""
    if spec.snapshot:
        code.take(spec.workdir, folder, apart_from=runs)
    if python is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_record(folder / "python.json", python)


def python_of(folder: Path) -> PythonPlace | None:
    try:
        return read_record(folder / "python.json", PythonPlace)
    except FileNotFoundError:
        return None
