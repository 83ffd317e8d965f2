"""``headrace logs RUN``: what its ranks wrote."""

import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.cli.follow import Lines
    from headrace.control.door import Door

app = typer.Typer(rich_markup_mode=None, add_completion=False)
_PAUSE_MIN_S, _PAUSE_MAX_S = 0.01, 0.5
_PAUSE_SHARE = 0.05
"""Of the time without a line; so a line is shown at most a twentieth later than it could be."""


@app.command()
def logs(
    run: Annotated[str, typer.Argument(help="Run id, its number, or a run directory.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends.")] = False,
    rank: Annotated[int | None, typer.Option("--rank", min=0, help="Only this rank.")] = None,
    attempt: Annotated[
        int | None, typer.Option("--attempt", min=0, help="Only this attempt; from 0.")
    ] = None,
) -> None:
    """Print what RUN wrote, node by node; lines of several ranks start with [rank]."""
    from headrace.cli.connection import connect, run_dir
    from headrace.cli.follow import Follower

    client, printer = connect(), Printer(rank)
    if client.system and "/" not in run:
        name, follower = run, _of_the_machine(client, run, attempt)
    else:
        found = run_dir(run)
        name, follower = found.run_id, Follower(found, attempt=attempt)
    if not follow:
        printer.show(follower)
        return
    _until_ended(client, name, [(follower, printer)])


def _of_the_machine(client: "Door", run: str, attempt: int | None = None) -> "Lines":
    """Our own files are read as they are; those of others through the daemon, if it lets us."""
    from headrace.cli.follow import Distant, Follower
    from headrace.core.rundir import RunDir

    row = client.detail(run).run
    if row.uid == os.getuid():
        return Follower(RunDir(Path(row.run_dir)), attempt=attempt)
    return Distant(client, row.id, attempt=attempt)


class Printer:
    """Prints lines to stdout and stderr as the ranks did; names the rank once there are several."""

    def __init__(self, rank: int | None = None, *, prefix: str = "") -> None:
        self._rank = rank
        self._prefix = prefix
        self._seen: set[int] = set()

    def show(self, follower: "Lines") -> bool:
        """Whether there was anything new to print."""
        lines = [line for line in follower.lines() if self._rank in (None, line.rank)]
        self._seen.update(line.rank for line in lines if line.rank >= 0)
        for line in lines:
            name = f"{self._prefix}{line.rank}" if line.rank >= 0 else self._prefix.rstrip(":")
            mark = f"[{name}] " if name and (len(self._seen) > 1 or self._prefix) else ""
            stream = sys.stderr if line.stream == "e" else sys.stdout
            stream.buffer.write(mark.encode() + line.text + b"\n")
        sys.stdout.flush()
        sys.stderr.flush()
        return bool(lines)


def follow_runs(client: "Door", name: str, runs: Sequence[str]) -> None:
    """Print the logs of ``runs`` until ``name``, which stands for all, has ended."""
    from headrace.cli.connection import run_dir
    from headrace.cli.follow import Follower

    shown = [
        (
            _of_the_machine(client, run) if client.system else Follower(run_dir(run)),
            Printer(prefix=f"{run}:" if len(runs) > 1 else ""),
        )
        for run in runs
    ]
    _until_ended(client, name, shown)


def _until_ended(client: "Door", name: str, shown: "Sequence[tuple[Lines, Printer]]") -> None:
    """Looks often while lines come, and less and less often the longer none do.

    The daemon is asked once, and answers at the end: another thread waits for that.
    """
    end = _End(client, name)
    silent_since_s = time.monotonic()
    while True:
        silent_s = time.monotonic() - silent_since_s
        ended = end.wait(min(_PAUSE_MAX_S, max(_PAUSE_MIN_S, silent_s * _PAUSE_SHARE)))
        if any([printer.show(follower) for follower, printer in shown]):
            silent_since_s = time.monotonic()
        if ended:
            return


class _End:
    """The end of a run or of several under one name, waited for beside other work."""

    def __init__(self, client: "Door", name: str) -> None:
        self._client = client
        self._name = name
        self._known = threading.Event()
        self._error: Exception | None = None
        threading.Thread(target=self._ask, daemon=True).start()

    def wait(self, timeout_s: float) -> bool:
        """Whether it has come. Raise what the daemon answers instead."""
        known = self._known.wait(timeout_s)
        if self._error is not None:
            raise self._error
        return known

    def _ask(self) -> None:
        try:
            while not all(row.state.is_final for row in self._client.wait(self._name)):
                pass
        except Exception as error:
            self._error = error
        self._known.set()
