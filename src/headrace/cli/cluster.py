"""``headrace cluster``: a whole Slurm cluster on this machine, or files for a real one."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.cluster.bringup.plan import Box, Cluster
    from headrace.cluster.bringup.status import Status

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Start a whole Slurm cluster on this machine, or write the files of a real one.",
)
Name = Annotated[str, typer.Argument(help="A node, as sinfo names it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print for a program.")]


@app.command()
def up(
    nodes: Annotated[int, typer.Option("--virtual", help="How many nodes it has.")],
    gpus: Annotated[int, typer.Option("--gpus-per-node", min=0, help="GPUs that do nothing.")] = 0,
    partitions: Annotated[
        str, typer.Option("--partitions", help="NAME[=NODES][@TIME],... : main,short=1-2@10:00.")
    ] = "main",
    users: Annotated[
        list[str] | None, typer.Option("--user", help="Who may submit, beside root; repeat it.")
    ] = None,
    cpus: Annotated[
        int | None, typer.Option("--cpus-per-node", min=1, help="CPUs a node shows.")
    ] = None,
    memory_mib: Annotated[
        int | None, typer.Option("--memory-mib", min=1, help="Memory a node shows.")
    ] = None,
    bandwidth: Annotated[
        str | None, typer.Option("--bandwidth", help="Limit of each cable, as tc says: 100mbit.")
    ] = None,
    proctrack: Annotated[
        str | None, typer.Option("--proctrack", help="cgroup or linuxproc.")
    ] = None,
    install: Annotated[bool, typer.Option("--install", help="Install what is missing.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what it would make.")] = False,
) -> None:
    """Start munge, MariaDB, slurmdbd, slurmctld and a slurmd a node. Needs root.

    The shell that runs eval "$(headrace cluster env)" has sbatch, squeue and srun.
    """
    import time

    from headrace.cluster.bringup.plan import Request
    from headrace.cluster.bringup.state import state_folder
    from headrace.cluster.bringup.up import bring_up, env_text, plan_cluster
    from headrace.core.records import encode

    sudo = os.environ.get("SUDO_USER")
    request = Request(
        nodes=nodes,
        gpus_per_node=gpus,
        partitions=partitions,
        users=tuple(users or ([sudo] if sudo and sudo != "root" else [])),
        cpus_per_node=cpus,
        memory_mib=memory_mib,
        bandwidth=bandwidth,
        proctrack=proctrack,
    )
    folder = state_folder(os.environ)
    if dry_run:
        typer.echo(encode(plan_cluster(request, folder)).decode())
        return
    started_s = time.monotonic()

    def say(what: str) -> None:
        typer.echo(f"{time.monotonic() - started_s:5.1f} s  {what}", err=True)

    cluster = bring_up(request, folder, install=install, say=say)
    say(f"{nodes} nodes are idle")
    typer.echo(env_text(cluster), nl=False)


@app.command()
def down() -> None:
    """End it and leave nothing behind. Safe to call again, also after a crash. Needs root."""
    from headrace.cluster.bringup.down import take_down
    from headrace.cluster.bringup.state import require_root, state_folder

    require_root("down")
    gone = take_down(state_folder(os.environ))
    typer.echo("the cluster is gone" if gone else "there was no cluster", err=True)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show its nodes. Exit status 3 when there is no cluster."""
    from headrace.cluster.bringup.status import status_of
    from headrace.core.records import encode

    found = status_of(_cluster())
    typer.echo(encode(found).decode() if as_json else _table(found))


def _table(found: "Status") -> str:
    lines = [f"{found.phase}: {found.folder}"]
    for box in found.boxes:
        power = "on" if box.powered else "off"
        lines.append(
            f"{box.name:6} {box.address:15} power {power:3} cable {box.cable:4} {box.slurm or ''}"
        )
    return "\n".join(line.rstrip() for line in lines)


@app.command()
def env() -> None:
    """Print what a shell must export: eval "$(headrace cluster env)"."""
    from headrace.cluster.bringup.up import env_text

    typer.echo(env_text(_cluster()), nl=False)


@app.command()
def render(
    site: Annotated[Path, typer.Argument(help="Description of a real cluster, TOML.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write to.")] = None,
) -> None:
    """Write slurm.conf and its companions for real hardware, every option explained."""
    from headrace.cluster.bringup.read import read_site
    from headrace.cluster.bringup.render import MODES
    from headrace.cluster.bringup.render import render as render_files
    from headrace.cluster.bringup.write import write_files

    files = render_files(read_site(site))
    if out is not None:
        for path in write_files(files, out, MODES):
            typer.echo(str(path))
        return
    for name, text in files.items():
        typer.echo(f"# ==> {name} <==\n{text}")


@app.command("kill-node")
def kill_node(name: Name) -> None:
    """Pull the plug of a node: all its processes are gone at once. Needs root."""
    from headrace.cluster.bringup import boxes

    cluster, box = _node("kill-node", name)
    killed = boxes.kill(cluster, box)
    typer.echo(f"{name} is off" if killed else f"{name} was off", err=True)


@app.command("start-node")
def start_node(name: Name) -> None:
    """Start a node that is off, or one that is on anew. Needs root."""
    from headrace.cluster.bringup import boxes

    cluster, box = _node("start-node", name)
    boxes.kill(cluster, box)
    boxes.start(cluster, box)
    typer.echo(f"{name} is on; sinfo shows it when its slurmd has registered", err=True)


@app.command()
def cut(name: Name) -> None:
    """Cut the network cable of a node; what runs there goes on. Needs root."""
    _plug("cut", name)


@app.command()
def join(name: Name) -> None:
    """Mend the network cable of a node. Needs root."""
    _plug("join", name)


@app.command("exec", context_settings={"ignore_unknown_options": True})
def execute(
    name: Annotated[str, typer.Argument(help="A node, or head.")],
    command: Annotated[list[str], typer.Argument(help="What to run there; write -- before it.")],
) -> None:
    """Run a command inside a node or the head, beside its daemons. Needs root."""
    from headrace.cluster.bringup import boxes, state
    from headrace.cluster.bringup.plan import HEAD

    state.require_root("exec")
    cluster = _cluster()
    box = cluster.head if name == HEAD else state.node(cluster, name)
    words = boxes.inside(cluster, box, ["env", f"SLURM_CONF={cluster.conf}", *command])
    sys.stdout.flush()
    os.execvp(words[0], words)


def _plug(verb: str, name: str) -> None:
    from headrace.cluster.bringup.cables import cut_command
    from headrace.core.process import run

    _, box = _node(verb, name)
    run(cut_command(box, cut=verb == "cut"))
    typer.echo(f"the cable of {name} is {'cut' if verb == 'cut' else 'up'}", err=True)


def _cluster() -> "Cluster":
    from headrace.cluster.bringup.state import load, state_folder

    return load(state_folder(os.environ))


def _node(verb: str, name: str) -> "tuple[Cluster, Box]":
    from headrace.cluster.bringup import state

    state.require_root(verb)
    cluster = _cluster()
    return cluster, state.node(cluster, name)
