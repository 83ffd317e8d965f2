"""Which of the user's own SBATCH_ variables sbatch may see. Pure.

sbatch(1) has them outrank what stands in the script, unseen; here the script counts. What it leaves
open (SBATCH_WCKEY) they may still say; what the job file has a field for (SBATCH_PARTITION) is
taken for that, so that the run is checked against what it will get.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.spec.job import JobSpec

_PREFIX = "SBATCH_"
_OTHER_NAMES = {
    "array-inx": "array",
    "debug": "verbose",
    "mem-per-node": "mem",
    "req-switch": "switches",
    "timelimit": "time",
    "wait4switch": "switches",
}
_NEVER = frozenset(
    (
        *("array", "clusters", "container", "error", "export", "export-file", "get-user-env"),
        *("immediate", "input", "job-name", "no-kill", "no-requeue", "open-mode", "output"),
        *("parsable", "quiet", "requeue", "signal", "test-only", "verbose", "wait"),
    )
)
"""They would break the run, or how it is followed."""
_ONE_OF = (
    frozenset(("cpus-per-task", "cpus-per-gpu", "tres-per-task")),
    frozenset(("gres", "gpus", "gpus-per-node", "gpus-per-task")),
    frozenset(("mem", "mem-per-cpu", "mem-per-gpu")),
)
"""Ways to ask for the same thing."""


_FIELDS = ("account", "partition", "qos", "reservation", "constraint")
"""Of the job file: sbatch's options of the same name."""


def completed(spec: "JobSpec", environ: Mapping[str, str]) -> "JobSpec":
    """The job with what it leaves open and the user's variables say. What is no word is for sbatch
    to refuse."""
    said = {name: environ.get(f"{_PREFIX}{name.upper()}", "") for name in _FIELDS}
    return spec.model_copy(
        update={
            name: value
            for name, value in said.items()
            if value.split() == [value] and getattr(spec, name) is None
        }
    )


def options_of(script: str) -> dict[str, str]:
    """Option -> its value, of the #SBATCH lines."""
    lines = (line for line in script.splitlines() if line.startswith("#SBATCH --"))
    return _options(shlex.split(line)[1] for line in lines)


def options_in(argv: Sequence[str]) -> dict[str, str]:
    """Of a command line of ours, and of the script that it names."""
    asked = _options(word for word in argv if word.startswith("--"))
    return asked if "wrap" in asked else options_of(Path(argv[-1]).read_text()) | asked


def _options(words: Iterator[str]) -> dict[str, str]:
    parts = (word.removeprefix("--").partition("=") for word in words)
    return {name: value for name, _, value in parts}


def for_sbatch(environ: Mapping[str, str], options: Mapping[str, str]) -> dict[str, str]:
    """Those that say nothing that ``options`` say."""
    return {
        name: value
        for name, value in _theirs(environ)
        if _option(name) not in _NEVER and _rival(name, options) is None
    }


def left_out(environ: Mapping[str, str], options: Mapping[str, str]) -> tuple[str, ...]:
    """A note on each that says other than the job file."""
    return tuple(
        f"{name} is left out: the job file asks for --{rival}={options[rival]}"
        for name, value in _theirs(environ)
        if _option(name) not in _NEVER
        and (rival := _rival(name, options)) is not None
        and value != options[rival]
    )


def _theirs(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted(one for one in environ.items() if one[0].startswith(_PREFIX))


def _option(name: str) -> str:
    plain = name.removeprefix(_PREFIX).lower().replace("_", "-")
    return _OTHER_NAMES.get(plain, plain)


def _rival(name: str, options: Mapping[str, str]) -> str | None:
    """The option that asks for the same thing."""
    option = _option(name)
    same = next((group for group in _ONE_OF if option in group), frozenset((option,)))
    return next((one for one in options if one in same), None)
