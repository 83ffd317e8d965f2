"""``headrace daemon``: the process that keeps your queue, or the machine's.

Yours is started by the first command that needs it and stays until it is stopped or has had
nothing to do for a while. Runs do not need it to run; what ends while it is away is noticed when it
is back.
"""

import os
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.control.client import Client

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Start, stop or look at the daemon that keeps your queue, or the machine's.",
)
System = Annotated[bool, typer.Option("--system", help="That of the whole machine.")]


def _client(*, system: bool) -> "Client":
    from headrace.control.client import Client

    return Client(os.environ, runs=None, system=system)


@app.command()
def start(system: System = False) -> None:
    """Start the daemon if it is not there. Other commands start yours, too."""
    from headrace.control.errors import RootOnly

    client = _client(system=system)
    if client.daemon_if_up() is None:
        if system and os.geteuid() != 0:
            raise RootOnly(os.geteuid())
        client.start()
    found = client.daemon()
    what = "the machine's daemon" if system else "the daemon"
    typer.echo(f"{what} runs (pid {found.pid}); your runs are in {found.runs}", err=True)


@app.command()
def stop(system: System = False) -> None:
    """Stop the daemon. Runs that run go on; nothing new starts until it is back."""
    found = _client(system=system).stop_daemon()
    what = "there is no daemon" if found is None else f"the daemon (pid {found.pid}) has stopped"
    typer.echo(what, err=True)


@app.command()
def reload(system: System = False) -> None:
    """Read the site file now. The daemon does so, too, before it schedules a run."""
    found = _client(system=system).reload()
    typer.echo(f"the daemon goes by {found.site}", err=True)


@app.command()
def status(
    system: System = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print for a program.")] = False,
) -> None:
    """Say whether the daemon is there. Exit status 5 when it is not."""
    from headrace.core.records import encode

    client = _client(system=system)
    found = client.daemon_if_up()
    if as_json:
        typer.echo(encode({"schema": 1, "daemon": found, "log": str(client.log)}).decode())
    elif found is not None:
        typer.echo(f"pid {found.pid}, version {found.version}, runs {found.runs}, log {client.log}")
        if found.site_problem is not None:
            typer.echo(
                f"the site file is not in force as it is now:\n{found.site_problem}", err=True
            )
    if found is None:
        start = "root starts it" if system else "the next command that needs it starts it"
        typer.echo(f"there is no daemon; {start}", err=True)
        raise typer.Exit(5)
