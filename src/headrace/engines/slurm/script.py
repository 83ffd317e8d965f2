"""The batch script of a run, and what it says to sbatch. Pure.

A run of one size is queued again by Slurm itself when it loses a node; one that may shrink asks
with ``--no-kill`` to keep the others, and its lead decides.

The script turns into the lead. Options of the job file that only Slurm knows (``slurm.sbatch``)
come last, so they win over ours; those that would break the run are left out, with a note.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.core.records import Record
from headrace.engines.slurm.grace import signal_option, time_option
from headrace.schedule.request import Request
from headrace.spec.amounts import format_array

if TYPE_CHECKING:
    from headrace.spec.job import JobSpec

_NEVER = {
    "export": "the ranks get your environment through a file that only you can read",
    "export-file": "the ranks get your environment through a file that only you can read",
    "get-user-env": "the ranks get the environment that you submit from",
    "array": "write array: in the job file",
    "wrap": "the job file says what to run",
    "parsable": "it changes only what sbatch prints",
    "quiet": "it changes only what sbatch prints",
    "verbose": "it changes only what sbatch prints",
    "wait": "use headrace run --wait",
    "test-only": "use headrace run --dry-run",
    "hold": "use headrace hold",
    "no-requeue": "write restart: {max: 0}",
    "requeue": "write restart: in the job file",
    "output": "the run's folder keeps what it prints, headrace logs shows it",
    "error": "the run's folder keeps what it prints, headrace logs shows it",
    "input": "ranks have no standard input",
    "open-mode": "logs are never cut",
    "signal": "write checkpoint: {grace: ...}",
    "kill-on-invalid-dep": "a run that can never start is shown with its reason",
}
_MIB = 1 << 20
_EXIT_UNSEEN = 78


class Script(Record, frozen=True, kw_only=True):
    """``text``: the whole batch script. ``notes``: options that were left out, and why."""

    text: str
    notes: tuple[str, ...] = ()


class Host(Record, frozen=True, kw_only=True):
    """How our own programs are found on a node. ``variables`` are exported by the script."""

    python: str
    variables: dict[str, str]


def make_script(
    spec: "JobSpec",
    request: Request,
    *,
    run: Path,
    indices: Sequence[int],
    dependency: str,
    max_time_s: float | None,
    host: Host,
) -> Script:
    """``run``: the run directory; that of element i of an array is ``<run>_<i>``. ``indices``: the
    elements, none for a single run. ``dependency``: "" for none."""
    raw = spec.slurm.sbatch
    kept = _kept(spec)
    output = str(run).replace("%", "%%") + ("_%a" if indices else "") + "/batch.log"
    options = [
        *_asked(spec, request, max_time_s),
        *_array(spec, indices),
        *([("dependency", dependency)] if dependency else ()),
        *(("chdir", "/"), ("output", output), ("open-mode", "append")),
        *([("no-kill", "")] if request.nodes_min < request.nodes_max else ()),
        ("requeue" if spec.restart.max else "no-requeue", ""),
        *(("signal", signal_option()), ("export", "ALL")),
        *kept,
    ]
    element = '_"$SLURM_ARRAY_TASK_ID"' if indices else ""
    lines = [
        "#!/bin/bash",
        f"# {spec.name}: written by headrace; this script turns into the lead of the run.",
        *(f"#SBATCH --{name}" + (f"={_quoted(value)}" if value else "") for name, value in options),
        "",
        "trap '' TERM USR2  # they would end it before the lead can hear them",
        f"run={shlex.quote(str(run))}{element}",
        *(f"export {name}={shlex.quote(value)}" for name, value in sorted(host.variables.items())),
        'if [ ! -r "$run/submission.json" ]; then',
        '  echo "headrace: $run cannot be read on $(hostname): is it on a shared file system?" >&2',
        f"  exit {_EXIT_UNSEEN}",
        "fi",
        f'exec {shlex.quote(host.python)} -m headrace.engines.slurm.job "$run"',
        "",
    ]
    left_out = [
        f"slurm.sbatch {name} is left out: {_NEVER[name]}" for name in raw if name in _NEVER
    ]
    return Script(text="\n".join(lines), notes=tuple(left_out))


def asked_options(spec: "JobSpec", request: Request) -> list[tuple[str, str]]:
    """What decides where and when it starts, without what it waits for."""
    return [*_asked(spec, request, None), *_kept(spec)]


def _kept(spec: "JobSpec") -> list[tuple[str, str]]:
    return [(name, value) for name, value in spec.slurm.sbatch.items() if name not in _NEVER]


def _quoted(value: str) -> str:
    """As a shell quotes, which sbatch undoes; characters that mean nothing to it stay bare."""
    return value if re.fullmatch(r"[\w@%+=:,./\[\]&|*()!-]+", value) else shlex.quote(value)


def _asked(
    spec: "JobSpec", request: Request, max_time_s: float | None
) -> Iterator[tuple[str, str]]:
    least, most = request.nodes_min, request.nodes_max
    yield "job-name", spec.name
    yield "nodes", str(least) if least == most else f"{least}-{most}"
    if least == most:
        yield "ntasks-per-node", str(request.ranks_per_node)
        yield "cpus-per-task", str(request.cpus_per_rank)
    else:  # with tasks a node, Slurm gives the least of nodes even where all are free
        yield "cpus-per-task", str(request.cpus_per_node)
    if request.gpus_per_node:
        kind = f"{request.gpu_type}:" if request.gpu_type else ""
        yield "gres", f"gpu:{kind}{request.gpus_per_node}"
    if request.memory_bytes is not None:
        yield "mem", f"{-(-request.memory_bytes // _MIB)}M"
    if spec.time_s is not None:
        yield "time", time_option(spec.time_s, max_time_s)
    for name in ("account", "partition", "qos", "reservation", "constraint"):
        if (value := getattr(spec, name)) is not None:
            yield name, value
    if spec.priority < 0:
        yield "nice", str(-spec.priority)


def _array(spec: "JobSpec", indices: Sequence[int]) -> Iterator[tuple[str, str]]:
    if indices:
        throttle = spec.array.throttle if spec.array else None
        yield "array", format_array(tuple(indices), throttle)


def dependency_of(conditions: Sequence[tuple[str, str]], *, singleton: bool) -> str:
    """``conditions``: (ok, any or notok; a job id). "afterok:4711:4712,singleton"."""
    kinds = {"ok": "afterok", "any": "afterany", "notok": "afternotok"}
    parts = []
    for condition, kind in kinds.items():
        ids = [job for wanted, job in conditions if wanted == condition]
        if ids:
            parts.append(":".join((kind, *ids)))
    return ",".join([*parts, *["singleton"] * singleton])
