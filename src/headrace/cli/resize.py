"""``headrace resize RUN NODES``: say on how many nodes a run may be from now on."""

from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def resize(
    run: Annotated[str, typer.Argument(help="Run id or number; an array id for all.")],
    nodes: Annotated[str, typer.Argument(help="A count or a range, as in nodes: of a job file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print for a program.")] = False,
) -> None:
    """Let RUN be on NODES nodes, within what it was submitted for.

    A running one that has more or fewer saves and goes on at the new width.
    """
    from headrace.cli.acted import show
    from headrace.cli.connection import connect
    from headrace.spec.amounts import nodes as parse
    from headrace.spec.forms import Invalid
    from headrace.spec.parts import NodeRange

    try:
        asked = NodeRange.model_validate(parse(nodes))
    except Invalid as invalid:
        raise typer.BadParameter(f'"{nodes}": {invalid}', param_hint="NODES") from None
    show(connect().resize(run, asked.min, asked.max), as_json=as_json)
