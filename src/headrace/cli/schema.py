"""``headrace schema``: the JSON Schema of job files, for editors."""

import typer

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def schema() -> None:
    """Print the JSON Schema of job files."""
    import json

    from headrace.spec.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
