"""Ask a file system's own tools, each with a time-out and all with one deadline."""

import os
import time
from collections.abc import Sequence

from headrace.core.bounded import bounded

_EACH_S = 5.0
_PLACES = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/lpp/mmfs/bin")


class Questions:
    """Runs commands; what they do not answer is in ``unanswered``, in words."""

    def __init__(self, deadline_s: float) -> None:
        self._until_s = time.monotonic() + deadline_s
        self.unanswered: list[str] = []
        path = os.pathsep.join([os.environ.get("PATH", ""), *_PLACES])
        self._environ = {**os.environ, "LC_ALL": "C", "PATH": path}

    def __call__(self, *command: str, quiet: bool = False) -> str:
        """Standard output, or nothing when the program is absent, fails or takes too long.

        One gets at most half of the time that is left. ``quiet``: no answer is not worth a word.
        """
        left_s = (self._until_s - time.monotonic()) / 2
        try:
            ended = bounded(command, min(_EACH_S, left_s), self._environ)
        except OSError as error:
            self._missed(command, error.strerror or str(error), quiet)
            return ""
        if ended.status is None:
            self._missed(command, "gave no answer in time", quiet)
            return ""
        if ended.status != 0:
            told = (ended.complaint.strip() or ended.output.strip()).splitlines()
            why = told[-1].decode(errors="replace") if told else f"exit status {ended.status}"
            self._missed(command, why, quiet)
            return ""
        return ended.output.decode(errors="replace")

    def _missed(self, command: Sequence[str], why: str, quiet: bool) -> None:
        if not quiet:
            self.unanswered.append(f"{' '.join(command[:2])}: {why}")
