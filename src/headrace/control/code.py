"""Code snapshots of runs of this machine's queue: made by who submits, as their user, before.

A daemon would stand still while it copies, and that of a whole machine does not touch users'
files. So what it is given is a job whose folder is the copy: ``<runs>/.code/<token>/code``.
"""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from headrace.core.errors import HeadraceError, NotFound, Refused, UsageError
from headrace.engines import code
from headrace.engines.contract import RunRow, Submitted
from headrace.spec.load import read_submitted
from headrace.spec.write import to_yaml

_REFUSED = (UsageError.exit_status, NotFound.exit_status, Refused.exit_status)


def with_code(
    job: str,
    runs: Path,
    token: str,
    submit: Callable[[str], Submitted],
    going: Callable[[], Iterable[RunRow]],
) -> Submitted:
    """``submit`` a job whose code is a copy; a second time with one ``token`` it is the same copy.

    Copies whose runs have ended, and have no directory any more, are removed. ``going``: runs that
    have not ended; of those that wait, the daemon of a machine has made none. Raise
    ``CodeTooLarge``.
    """
    spec, folder = read_submitted(job), runs / ".code" / token
    if not spec.snapshot:
        return submit(job)
    _sweep(runs, going)
    try:
        copy = code.taken(folder) or code.take(spec.workdir, folder, apart_from=runs)
        submitted = submit(without_code(to_yaml(code.running_in(spec, copy))))
    except HeadraceError as error:
        if error.exit_status in _REFUSED and not (folder / "id").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise  # after any other error the job may have been taken
    (folder / "id").write_text(submitted.id)
    return submitted


def without_code(job: str) -> str:
    """The job as a daemon takes it: nothing is left to be copied."""
    return to_yaml(read_submitted(job).model_copy(update={"snapshot": False}))


def _sweep(runs: Path, going: Callable[[], Iterable[RunRow]]) -> None:
    kept = {path.parent: path.read_text() for path in (runs / ".code").glob("*/id")}
    gone = {
        folder: name
        for folder, name in kept.items()
        if not (runs / name).exists() and not any(runs.glob(f"{name}_*"))
    }
    needed = {row.array_id or row.id for row in going()} if gone else set()
    for folder, name in gone.items():
        if name not in needed:
            shutil.rmtree(folder, ignore_errors=True)
