"""``headrace run``: submit a job file, a batch script or a command."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.core.errors import UsageError

if TYPE_CHECKING:
    from headrace.control.door import Door
    from headrace.core.order import Order
    from headrace.engines.contract import Batch, Submitted
    from headrace.spec.job import JobSpec

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class JobUnclear(UsageError):
    """The command line names no job, or more than one."""

    code = "HR-CLI-001"


def _flag(name: str, text: str) -> typer.models.OptionInfo:
    """An option that sets the job field ``name``; ``restart.max`` is --restart-max, too."""
    spelled = name.replace("_", "-")
    names = dict.fromkeys((f"--{spelled.replace('.', '-')}", f"--{spelled}"))
    option: typer.models.OptionInfo = typer.Option(*names, help=text)
    return option


Text = str | None
Texts = list[str] | None


@app.command()
def run(
    context: typer.Context,
    job: Annotated[
        Texts, typer.Argument(help="Job file or batch script.", show_default=False)
    ] = None,
    name: Annotated[Text, _flag("name", "Name of the run.")] = None,
    nodes: Annotated[Text, _flag("nodes", "Nodes: 2, or 2-8 for elastic.")] = None,
    gpus_per_node: Annotated[Text, _flag("gpus_per_node", "GPUs a node: 8 or H100:8.")] = None,
    ranks_per_node: Annotated[Text, _flag("ranks_per_node", "Ranks a node.")] = None,
    cpus_per_rank: Annotated[Text, _flag("cpus_per_rank", "CPUs a rank.")] = None,
    memory: Annotated[Text, _flag("memory", "Memory a node: 400G.")] = None,
    time: Annotated[Text, _flag("time", "Time limit: 4h, 90m, HH:MM:SS.")] = None,
    priority: Annotated[Text, _flag("priority", "Higher starts earlier.")] = None,
    framework: Annotated[Text, _flag("framework", "torch or none.")] = None,
    workdir: Annotated[Text, _flag("workdir", "Folder to run in.")] = None,
    snapshot: Annotated[
        bool | None,
        typer.Option("--snapshot/--no-snapshot", help="Run a copy of the code as it is now."),
    ] = None,
    stage_python: Annotated[
        Text, _flag("stage_python", "Nodes import from a copy of your venv: nvme or memory.")
    ] = None,
    modules: Annotated[Texts, _flag("modules", "Environment modules: a,b; repeatable.")] = None,
    setup: Annotated[Text, _flag("setup", "Shell text that runs once a node before.")] = None,
    env: Annotated[Texts, _flag("env", "NAME=VALUE for the ranks; may be repeated.")] = None,
    secrets: Annotated[Texts, _flag("secrets", "Variable to pass on unseen; repeatable.")] = None,
    array: Annotated[Text, _flag("array", "Indices: 0-99%8.")] = None,
    sweep: Annotated[Texts, _flag("sweep", "NAME=V1,V2: a run for each; repeatable.")] = None,
    after_ok: Annotated[Texts, _flag("after.ok", "Start after this run COMPLETED.")] = None,
    after_any: Annotated[Texts, _flag("after.any", "Start after this run ended.")] = None,
    after_notok: Annotated[Texts, _flag("after.notok", "Start after this run failed.")] = None,
    restart_max: Annotated[Text, _flag("restart.max", "Restarts at most.")] = None,
    restart_on: Annotated[Texts, _flag("restart.on", "preempt, node, error, ...")] = None,
    checkpoint_every: Annotated[Text, _flag("checkpoint.every", "10m or 500 steps.")] = None,
    checkpoint_keep: Annotated[Text, _flag("checkpoint.keep", "Checkpoints to keep.")] = None,
    checkpoint_grace: Annotated[Text, _flag("checkpoint.grace", "Time to save on a stop.")] = None,
    account: Annotated[Text, _flag("account", "Account to charge.")] = None,
    partition: Annotated[Text, _flag("partition", "Partition.")] = None,
    qos: Annotated[Text, _flag("qos", "Quality of service.")] = None,
    reservation: Annotated[Text, _flag("reservation", "Reservation.")] = None,
    constraint: Annotated[Text, _flag("constraint", "Node features.")] = None,
    image: Annotated[Text, _flag("image", "Container image.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait; exit status tells the end.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print its logs, then as --wait.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the order; start nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print for a program.")] = False,
) -> None:
    """Submit JOB, or the command after --, and print the run's id. Flags override the job file.

    headrace run job.yaml --nodes 2

    headrace run --gpus-per-node 8 --time 2h -- python train.py --lr 3e-4
    """
    overrides = {
        "modules": [name for text in modules or () for name in text.split(",")],
        **{key: value for key, value in context.params.items() if key in _PLAIN},
        **{dotted: context.params[key] for key, dotted in _DOTTED.items()},
        "env": _pairs("env", env),
        "sweep": {key: value.split(",") for key, value in (_pairs("sweep", sweep) or {}).items()}
        or None,
    }
    spec = _read(
        job or [], context.obj, {k: v for k, v in overrides.items() if v not in (None, [], ())}
    )
    from headrace.cli.connection import connect
    from headrace.control.environment import submitted_environment
    from headrace.spec.load import script_of
    from headrace.spec.write import to_yaml

    environment = submitted_environment(spec.secrets, os.environ)
    client = connect()
    if dry_run:
        _show_order(client.dry_run(to_yaml(spec)), as_json=as_json)
        return
    submitted = client.submit(to_yaml(spec), environment, script=script_of(spec))
    _announce(submitted, as_json=as_json)
    if follow or wait:
        raise typer.Exit(_stay(client, submitted, follow=follow))


_PLAIN = (
    *("name", "nodes", "gpus_per_node", "ranks_per_node", "cpus_per_rank", "memory", "time"),
    *(
        "priority",
        "framework",
        "workdir",
        "snapshot",
        "stage_python",
        "setup",
        "secrets",
        "array",
        "account",
        "partition",
    ),
    *("qos", "reservation", "constraint", "image"),
)
_DOTTED = {
    **{f"after_{condition}": f"after.{condition}" for condition in ("ok", "any", "notok")},
    **{f"restart_{field}": f"restart.{field}" for field in ("max", "on")},
    **{f"checkpoint_{field}": f"checkpoint.{field}" for field in ("every", "keep", "grace")},
}


def _pairs(flag: str, texts: Texts) -> dict[str, str] | None:
    pairs = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise JobUnclear(
                f'--{flag} "{text}" is not NAME=VALUE',
                why="the name comes before the first =",
                remedy=f"--{flag} NAME=VALUE",
            )
        pairs[key] = value
    return pairs or None


def _read(
    words: list[str], command: tuple[str, ...] | None, overrides: Mapping[str, object]
) -> "JobSpec":
    from headrace.spec.load import from_flags, load_file

    cwd = Path.cwd()
    if len(words) > 1 or (words and command is not None):
        raise JobUnclear(
            f'"{" ".join(words)}" is not one job file',
            why="a command to run stands after --",
            remedy=f"headrace run -- {' '.join([*words, *(command or ())])}",
        )
    if words:
        return load_file(Path(words[0]), overrides=overrides, cwd=cwd)
    if command is None:
        raise JobUnclear(
            "there is nothing to run",
            why="run takes a job file, a batch script, or a command after --",
            remedy="headrace run job.yaml, or headrace run -- python train.py",
        )
    return from_flags(command, overrides=overrides, cwd=cwd)


def _show_order(order: "Order | Batch", *, as_json: bool) -> None:
    """A batch script is shown as it is; what a lead is told has no other form than JSON."""
    from headrace.core.records import encode
    from headrace.engines.contract import Batch

    if as_json or not isinstance(order, Batch):
        typer.echo(encode(order).decode())
        return
    import shlex

    for note in order.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"# {shlex.join(order.argv)}\n{order.script}", nl=False)


def _announce(submitted: "Submitted", *, as_json: bool) -> None:
    for note in submitted.notes:
        typer.echo(f"note: {note}", err=True)
    if as_json:
        import json

        typer.echo(json.dumps({"schema": 1, "id": submitted.id, "runs": list(submitted.runs)}))
    else:
        typer.echo(submitted.id)
    sys.stdout.flush()


def _stay(client: "Door", submitted: "Submitted", *, follow: bool) -> int:
    """Wait for the end. An interrupt leaves the run alone."""
    from headrace.cli.outcome import exit_status, line
    from headrace.core.errors import EXIT_INTERRUPTED

    try:
        if follow:
            from headrace.cli.logs import follow_runs

            follow_runs(client, submitted.id, submitted.runs)
        rows = client.wait(submitted.id)
        while not all(row.state.is_final for row in rows):
            rows = client.wait(submitted.id)
    except KeyboardInterrupt:
        name = submitted.id
        typer.echo(
            f"\n{name} goes on; headrace logs -f {name} shows it, headrace cancel {name} stops it",
            err=True,
        )
        return EXIT_INTERRUPTED
    for row in rows:
        typer.echo(line(row), err=True)
    return exit_status(row.state for row in rows)
