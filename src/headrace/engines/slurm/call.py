"""The one place that runs a command of Slurm: a list of words, a time limit, no shell."""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence

from headrace.engines.slurm.errors import SlurmRefused, SlurmUnreachable
from headrace.engines.slurm.variables import for_sbatch, options_in

Call = Callable[[Sequence[str]], str]
"""Command to standard output. Raise ``SlurmUnreachable`` or ``SlurmRefused``."""

_TIMEOUT_S = 30.0
_TAIL = 500
_UNREACHABLE = (
    *("Unable to contact slurm controller", "Connection refused", "Zero Bytes were transmitted"),
    *("Socket timed out", "Unable to connect", "Connection timed out", "Unable to resolve"),
    *("Could not establish a configuration source", "Protocol authentication error"),
    *("Connection reset", "authentication plugin", "munge"),
)
_PASSED_ON = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ"),
        *("LD_LIBRARY_PATH", "PYTHONPATH", "MODULEPATH", "SLURM_CONF", "SLURM_CLUSTERS"),
    )
)


def passed_on(environ: Mapping[str, str], argv: Sequence[str]) -> dict[str, str]:
    """What Slurm's commands see, and with it what lies in the batch script's environment.

    The rest, and secrets most of all, goes to the ranks through a file of the run that only its
    user may read. sbatch also sees the user's own variables for it, as ``variables`` says.
    """
    chosen = {name: value for name, value in environ.items() if name in _PASSED_ON}
    if argv[0] == "sbatch":
        chosen |= for_sbatch(environ, options_in(argv))
    return chosen | {"SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "standard"}


def call(
    argv: Sequence[str],
    *,
    environ: Mapping[str, str] | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> str:
    """What the command prints. Raise ``SlurmUnreachable`` or ``SlurmRefused``."""
    environ = os.environ if environ is None else environ
    try:
        done = subprocess.run(
            argv,
            env=passed_on(environ, argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # the name of any job of the user's
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        raise SlurmUnreachable(argv, f"{argv[0]} is not installed here") from None
    except subprocess.TimeoutExpired:
        raise SlurmUnreachable(argv, f"nothing came in {timeout_s:g} s") from None
    if done.returncode == 0:
        return done.stdout + (done.stderr if "--test-only" in argv else "")
    said = " ".join((done.stderr or done.stdout).split())[-_TAIL:]
    said = said or f"exit status {done.returncode}"
    if any(words in said for words in _UNREACHABLE):
        raise SlurmUnreachable(argv, said)
    raise SlurmRefused(argv, said)
