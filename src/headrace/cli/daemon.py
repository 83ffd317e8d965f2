"""``headrace daemon``: the process that keeps your queue.

It is started by the first command that needs it and stays until it is stopped or has had nothing to
do for a while. Runs do not need it to run; what ends while it is away is noticed when it is back.
"""

from typing import Annotated

import typer

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Start, stop or look at the daemon that keeps your queue.",
)


@app.command()
def start() -> None:
    """Start the daemon if it is not there. Other commands do that, too."""
    from headrace.cli.connection import connect

    found = connect().daemon()
    typer.echo(f"the daemon runs (pid {found.pid}) and serves {found.runs}", err=True)


@app.command()
def stop() -> None:
    """Stop the daemon. Runs that run go on; nothing new starts until it is back."""
    import os

    from headrace.control.client import Client

    found = Client(os.environ, runs=None).stop_daemon()
    what = "there is no daemon" if found is None else f"the daemon (pid {found.pid}) has stopped"
    typer.echo(what, err=True)


@app.command()
def reload() -> None:
    """Read the site file now. The daemon does so, too, before it schedules a run."""
    from headrace.cli.connection import connect

    typer.echo(f"the daemon goes by {connect().reload().site}", err=True)


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print for a program.")] = False,
) -> None:
    """Say whether the daemon is there. Exit status 5 when it is not."""
    import os

    from headrace.control.client import Client
    from headrace.core.records import encode

    client = Client(os.environ, runs=None)
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
        typer.echo("there is no daemon; the next command that needs it starts it", err=True)
        raise typer.Exit(5)
