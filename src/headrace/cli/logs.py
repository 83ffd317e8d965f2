"""``headrace logs RUN``: what its ranks wrote."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.cli.follow import Lines
    from headrace.control.door import Door

app = typer.Typer(rich_markup_mode=None, add_completion=False)
_PAUSE_MIN_S, _PAUSE_MAX_S = 0.03, 0.5


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
        self._seen.update(line.rank for line in lines)
        for line in lines:
            mark = f"[{self._prefix}{line.rank}] " if len(self._seen) > 1 or self._prefix else ""
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
    """Looks often while lines come, and less and less often while none do."""
    pause_s = _PAUSE_MIN_S
    while True:
        ended = all(row.state.is_final for row in client.wait(name, timeout_s=pause_s))
        new = [printer.show(follower) for follower, printer in shown]
        if ended:
            return
        pause_s = _PAUSE_MIN_S if any(new) else min(_PAUSE_MAX_S, pause_s * 1.2)
