"""``headrace``: finds the command, runs it, and turns its errors into text and an exit status.

A command's module is imported when the command runs, so that help and completion stay fast.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from headrace import __version__
from headrace.core.errors import EXIT_INTERRUPTED, HeadraceError

COMMANDS = {
    "run": "Submit a run: a job file, a batch script, or -- and a command.",
    "ps": "List your runs that wait or run.",
    "status": "Show one run: state, reason, attempts, times.",
    "explain": "Show why a run waits, when it starts, and what would start it sooner.",
    "priority": "Show the queue in order, and what each place is made of.",
    "logs": "Print what a run wrote.",
    "watch": "Show a run live: progress, loss, use of the nodes.",
    "wait": "Wait until runs have ended.",
    "cancel": "Stop runs.",
    "hold": "Keep waiting runs from starting.",
    "release": "Let held runs start.",
    "requeue": "Have running runs save and queue again.",
    "resize": "Change on how many nodes an elastic run may be.",
    "reserve": "Keep nodes for somebody, or for maintenance.",
    "top": "Show nodes, runs and users live.",
    "report": "Show what a run did and what it cost.",
    "simulate": "Replay a recorded workload under other policies.",
    "usage": "Show who used how much, by user, account and month.",
    "accounts": "Show accounts with their shares and usage.",
    "nodes": "Show what this machine has.",
    "storage": "Show what file system lies under a path, advise, measure it.",
    "doctor": "Find what makes runs on this machine fail or slow.",
    "data": "Make and inspect token data sets.",
    "cluster": "Start a whole Slurm cluster on this machine, or write the files of a real one.",
    "checkpoint": "List and verify checkpoints.",
    "demo": "Take a small model from job file to report.",
    "schema": "Print the JSON Schema of job files.",
    "daemon": "Start, stop or look at the daemon that keeps your queue.",
}
"""Name -> one line of help. The module of a command has its name and an ``app``."""

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda token: token.replace("_", "-"),
    },
)


class LazyGroup(TyperGroup):
    """Knows names and help of its commands; imports the one that is to run."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:  # noqa: ANN401
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load(str(name)), rest


@app.callback(cls=LazyGroup)
def headrace(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    engine: Annotated[
        str, typer.Option("--engine", help="Where runs are: local, slurm or auto. In any place.")
    ] = "auto",
) -> None:
    """One job description, from plan to served model, on a laptop or on Slurm."""


def load(name: str) -> Any:  # noqa: ANN401
    """The command of that name, imported."""
    command = typer.main.get_command(importlib.import_module(f"headrace.cli.{name}").app)
    command.name = name
    return command


def make_command() -> Any:  # noqa: ANN401
    """The whole command line, with the commands that this installation has."""
    group = typer.main.get_command(app)
    assert isinstance(group, LazyGroup)
    for name, text in COMMANDS.items():
        if find_spec(f"headrace.cli.{name}") is not None:
            group.add_command(TyperCommand(name, short_help=text, rich_markup_mode=None))
    return group


def split_command(arguments: Sequence[str]) -> tuple[list[str], tuple[str, ...] | None]:
    """For ``run``: what stands before ``--``, and the command after it, None without ``--``."""
    words = list(arguments)
    if words[:1] != ["run"] or "--" not in words:
        return words, None
    at = words.index("--")
    return words[:at], tuple(words[at + 1 :])


def take_engine(arguments: Sequence[str]) -> list[str]:
    """Without ``--engine NAME``, which stands anywhere before ``--``; it sets HEADRACE_ENGINE."""
    words = list(arguments)
    end = words.index("--") if "--" in words else len(words)
    for at, word in enumerate(words[:end]):
        name, equals, value = word.partition("=")
        if name != "--engine":
            continue
        length = 1 if equals else 2
        os.environ["HEADRACE_ENGINE"] = value if equals else (words[at + 1 : end] or [""])[0]
        return words[:at] + words[at + length :]
    return words


def main() -> None:
    """Entry point of ``headrace``. The one place where an error becomes an exit status."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"headrace {__version__}\n")
        return
    arguments, command = split_command(take_engine(sys.argv[1:]))
    try:
        make_command().main(args=arguments, prog_name="headrace", obj=command)
    except HeadraceError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
