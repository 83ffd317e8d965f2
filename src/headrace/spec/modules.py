"""Environment modules (Lmod, Environment Modules) around the program of a rank. Pure.

``module`` is a function of the shell, so a shell loads them and then turns into the program. It is
outermost: apptainer or srun may come from a module, too.
"""

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.spec.job import JobSpec

_SCRIPT = """\
if ! type module >/dev/null 2>&1; then
  for init in "$LMOD_PKG/init/bash" "$MODULESHOME/init/bash" /etc/profile.d/lmod.sh \\
      /etc/profile.d/modules.sh; do
    if [ -r "$init" ]; then . "$init"; break; fi
  done
fi
if ! module load {names}; then
  echo "headrace: modules not loaded on $(hostname):" {names} >&2
  exit 78
fi
exec "$@"
"""


def with_modules(spec: "JobSpec", argv: tuple[str, ...]) -> tuple[str, ...]:
    """``argv`` itself where the job file names no modules."""
    if not spec.modules:
        return argv
    names = " ".join(map(shlex.quote, spec.modules))
    return ("/bin/bash", "-c", _SCRIPT.format(names=names), "headrace", *argv)
