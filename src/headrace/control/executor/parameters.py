"""The words of ``Executor`` and ``update_parameters``, as fields of the job file. Pure.

Three vocabularies are read: the job file's own; submitit's common one; and submitit's for one
engine, with ``slurm_`` or ``local_`` before it, which wins on that engine and is passed over on the
other, as there. What cannot be honoured is refused, never passed over.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace.control.executor.errors import ParameterNotHonoured, ParameterUnknown

Fields = dict[str, Any]

JOB_FIELDS = (
    *("name", "framework", "nodes", "gpus_per_node", "ranks_per_node", "cpus_per_rank", "memory"),
    *("time", "account", "partition", "qos", "reservation", "constraint", "priority", "workdir"),
    *("modules", "setup", "env", "secrets", "image", "data", "checkpoint", "restart", "after"),
    *("slurm", "train", "stage_python"),
)
PARALLELISM = "array_parallelism"


def _minutes(value: str | float) -> str:
    """submitit counts in minutes; text is in Slurm's own forms, which are the job file's."""
    return value if isinstance(value, str) else f"{round(value * 60)}s"


def _gigabytes(value: float) -> str:
    return f"{round(value * 1024)}M"


def _shell(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else "set -e\n" + "\n".join(value)


_Reading = tuple[str, Callable[[Any], Any]]


def _same(value: object) -> object:
    return value


_COMMON: dict[str, _Reading] = {
    "timeout_min": ("time", _minutes),
    "mem_gb": ("memory", _gigabytes),
    "cpus_per_task": ("cpus_per_rank", _same),
    "tasks_per_node": ("ranks_per_node", _same),
    PARALLELISM: (PARALLELISM, _same),
}
_OF_AN_ENGINE: dict[str, _Reading] = {
    "job_name": ("name", _same),
    "time": ("time", _minutes),
    "mem": ("memory", _same),
    "ntasks_per_node": ("ranks_per_node", _same),
    "num_gpus": ("gpus_per_node", _same),
    "setup": ("setup", _shell),
    "signal_delay_s": ("checkpoint.grace", lambda value: f"{value}s"),
    "max_num_timeout": ("restart.max", _same),
    **{name: (name, _same) for name in ("partition", "account", "qos", "constraint")},
    **{name: (name, _same) for name in ("reservation", "nodes", "name", "gpus_per_node")},
    **_COMMON,
}
_TO_SBATCH = ("comment", "exclude", "nodelist", "exclusive", "mail_type", "mail_user", "wckey")
_ADDITIONAL = "additional_parameters"
_NEVER = {
    "gpus_per_task": ("GPUs are asked for by node", "gpus_per_node=..."),
    "cpus_per_gpu": ("CPUs are asked for by rank", "cpus_per_rank=..."),
    "mem_per_gpu": ("memory is asked for by node", "memory=..."),
    "mem_per_cpu": ("memory is asked for by node", "memory=..."),
    "gres": ("GPUs are asked for by node", "gpus_per_node=..., with a type: 'a100:4'"),
    "dependency": ("runs wait for runs", "after={'ok': [job.job_id]}"),
    "teardown": ("nothing runs after the ranks", "do it at the end of the function"),
    "srun_args": ("srun starts our agents, not the ranks", "leave it out"),
    "use_srun": ("srun starts our agents, not the ranks", "leave it out"),
    "stderr_to_stdout": ("a run has one log, which knows them apart", "leave it out"),
    "python": ("ranks run the Python that submits", "activate the other one, or setup=..."),
}
_PREFIXES = ("slurm", "local")


def known() -> Sequence[str]:
    """All names, for the message about an unknown one."""
    of_slurm = (*_OF_AN_ENGINE, *_TO_SBATCH, _ADDITIONAL)
    ours = dict.fromkeys((*JOB_FIELDS, *_COMMON, *(f"slurm_{name}" for name in of_slurm)))
    return tuple(sorted(ours))


def require_known(given: Mapping[str, Any]) -> None:
    """Raise ``ParameterUnknown`` or ``ParameterNotHonoured``, whatever engine is meant."""
    for name, value in given.items():
        prefix, _, bare = name.partition("_")
        if name in _NEVER or (prefix in _PREFIXES and bare in _NEVER):
            if value is None:
                continue
            why, remedy = _NEVER[name if name in _NEVER else bare]
            raise ParameterNotHonoured(name, why=why, remedy=remedy)
        common = name in JOB_FIELDS or name in _COMMON
        own = prefix in _PREFIXES and bare in (*_OF_AN_ENGINE, *_TO_SBATCH, _ADDITIONAL)
        if not common and not own:
            raise ParameterUnknown(name, known())


def job_fields(given: Mapping[str, Any], engine: str) -> Fields:
    """``given``, all known, as fields of a job on that engine, and ``array_parallelism``.

    A value of None is one that is not given.
    """
    fields: Fields = {}
    options: dict[str, Any] = {}
    for name, value in sorted(given.items(), key=lambda item: _is_prefixed(item[0])):
        if value is None:
            continue
        prefix, _, bare = name.partition("_")
        if not _is_prefixed(name):
            field, read = _COMMON.get(name, (name, _same))
        elif prefix != engine:
            continue
        elif bare in _TO_SBATCH:
            options |= _option(bare, value)
            continue
        elif bare == _ADDITIONAL:
            for option, setting in value.items():
                options |= _option(option, setting)
            continue
        else:
            field, read = _OF_AN_ENGINE[bare]
        _put(fields, field, read(value))
    if options and engine == "slurm":
        slurm = fields.get("slurm", {})
        fields["slurm"] = {**slurm, "sbatch": {**slurm.get("sbatch", {}), **options}}
    return fields


def _is_prefixed(name: str) -> bool:
    return name not in JOB_FIELDS and name.startswith(("slurm_", "local_"))


def _option(name: str, value: object) -> dict[str, str]:
    if value is None or value is False:
        return {}
    return {name.replace("_", "-"): "" if value is True else str(value)}


def _put(fields: Fields, name: str, value: object) -> None:
    outer, dot, inner = name.partition(".")
    if dot:
        fields[outer] = {**fields.get(outer, {}), inner: value}
    else:
        fields[name] = value
