"""Code snapshots of runs of this machine's queue: made by who submits, as their user, before.

A daemon would stand still while it copies, and that of a whole machine does not touch users'
files. So what it is given is a job whose folder is the copy: ``<runs>/.code/<token>/code``.
"""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from headrace.engines import code
from headrace.engines.contract import Submitted
from headrace.spec.load import read_submitted
from headrace.spec.write import to_yaml


def with_code(job: str, runs: Path, token: str, submit: Callable[[str], Submitted]) -> Submitted:
    """``submit`` a job whose code is a copy; a second time with one ``token`` it is the same copy.

    Copies of submissions whose run directories are gone are removed. Raise ``CodeTooLarge``.
    """
    spec, folder = read_submitted(job), runs / ".code" / token
    if not spec.snapshot:
        return submit(job)
    _sweep(runs)
    try:
        copy = code.taken(folder) or code.take(spec.workdir, folder, apart_from=runs)
        submitted = submit(without_code(to_yaml(code.running_in(spec, copy))))
    except BaseException:
        if not (folder / "id").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    (folder / "id").write_text(submitted.runs[0])
    return submitted


def without_code(job: str) -> str:
    """The job as a daemon takes it: nothing is left to be copied."""
    return to_yaml(read_submitted(job).model_copy(update={"snapshot": False}))


def _sweep(runs: Path) -> None:
    """What an array has copied stays as long as its first run."""
    for kept in (runs / ".code").glob("*/id"):
        with contextlib.suppress(OSError):
            if not (runs / kept.read_text()).exists():
                shutil.rmtree(kept.parent)
