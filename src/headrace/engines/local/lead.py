"""The lead's process as the engine sees it: started behind a gate, known by name, cleared up after.

A lead must not run before the engine has written down who it is: an engine that dies in between
would start a second one. So the program is executed by a shell that first waits for a word on its
standard input. The engine writes ``lead.json`` and then gives the word; if the engine dies before,
the shell reads the end of the file and exits, having run nothing. ``exec`` keeps pid and start
time.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from headrace.core.process import Process, identify, marked, send_signal, wait_gone
from headrace.core.records import DecodeError, read_record, sync_folder, write_record
from headrace.core.rundir import RunDir

_GATE = 'read -r word && [ "$word" = go ] && exec "$@" </dev/null'
_MARK = "HEADRACE_RUN_DIR"
_CLEAR_ROUNDS = 20
_GONE_S = 0.5
_LOG_TAIL_BYTES = 2000


def lead_file(run: RunDir) -> Path:
    return run.root / "lead.json"


def read_lead(run: RunDir) -> Process | None:
    try:
        return read_record(lead_file(run), Process)
    except (FileNotFoundError, DecodeError):
        return None


def forget_lead(run: RunDir) -> None:
    """Before a new start: an earlier lead's name and stop request do not concern it."""
    lead_file(run).unlink(missing_ok=True)
    run.stop.unlink(missing_ok=True)
    sync_folder(run.root)


def spawn(
    run: RunDir, program: Sequence[str], environ: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a shell that will become the lead when ``let_go`` says so. Raise ``OSError``."""
    environment = {**environ, "HEADRACE_RUN_ID": run.run_id, _MARK: str(run.root)}
    with (run.root / "lead.log").open("ab") as log:
        return subprocess.Popen(
            ["/bin/sh", "-c", _GATE, "lead", *program, str(run.root)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd="/",
            env=environment,
            start_new_session=True,
        )


def let_go(run: RunDir, child: subprocess.Popen[bytes]) -> Process:
    """Write down who the lead is, then open the gate."""
    process = identify(child.pid)
    assert process is not None, "our child is at least a zombie until we wait for it"
    write_record(lead_file(run), process)
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(b"go\n")
        child.stdin.flush()
    with contextlib.suppress(BrokenPipeError):
        child.stdin.close()
    return process


def clear(run: RunDir) -> list[int]:
    """Kill every process that belongs to the run; return the pids that were killed."""
    killed: list[int] = []
    for _ in range(_CLEAR_ROUNDS):
        left = [process for pid in marked(_MARK, str(run.root)) if (process := identify(pid))]
        alive = [process for process in left if send_signal(process, signal.SIGKILL)]
        if not alive:
            break
        killed.extend(process.pid for process in alive if process.pid not in killed)
        for process in alive:
            wait_gone(process, _GONE_S)
    return sorted(killed)


def log_tail(run: RunDir) -> str:
    """The last line of the lead's log that says something."""
    try:
        with (run.root / "lead.log").open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return "it left no log"
    said = [line.strip() for line in lines if line.strip()]
    return said[-1] if said else "it left no word in lead.log"
