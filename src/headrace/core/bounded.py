"""Run a command and never wait longer than asked, even where the kernel does not let it go.

``subprocess.run`` waits for the process it has killed: for ever, when that sleeps in a file system
that does not answer.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

_GONE_S = 1.0
_stuck: list[subprocess.Popen[bytes]] = []
"""Killed, but held by the kernel until their file system answers."""


class Ended(NamedTuple):
    """``status`` is None when the time was over: then the output is what had come by then."""

    output: bytes
    complaint: bytes
    status: int | None


def bounded(command: Sequence[str], timeout_s: float, environ: Mapping[str, str]) -> Ended:
    """Run it in a session of its own; kill it and all it started when the time is over.

    Raise ``OSError`` when it cannot be started.
    """
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd="/",
        env=environ,
    )
    try:
        output, complaint = child.communicate(timeout=max(0.0, timeout_s))
        return Ended(output, complaint, child.returncode)
    except subprocess.TimeoutExpired as error:
        return Ended(error.output or b"", error.stderr or b"", None)
    finally:
        _leave(child)


def _leave(child: subprocess.Popen[bytes]) -> None:
    if child.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        try:
            child.wait(timeout=_GONE_S)
        except subprocess.TimeoutExpired:
            _stuck.append(child)
    for pipe in (child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()
    _stuck[:] = [one for one in _stuck if one.poll() is None]
