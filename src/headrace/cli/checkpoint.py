"""``headrace checkpoint``: what there is to go back to, and whether it is whole. Without torch."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.checkpoint.manifest import Manifest

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="List and verify checkpoints.")

AsJson = Annotated[bool, typer.Option("--json", help="Print for a program.")]


@app.command()
def ls(
    folder: Annotated[Path, typer.Argument(help="A folder of checkpoints.")],
    as_json: AsJson = False,
) -> None:
    """List the checkpoints in FOLDER, newest first. Quick: tensors are not read, see verify."""
    from headrace.checkpoint.errors import CheckpointNotFound
    from headrace.checkpoint.folder import committed, latest
    from headrace.checkpoint.verification import check_files

    if not folder.is_dir():
        raise CheckpointNotFound(folder)
    newest = latest(folder)
    rows = [
        {**_row(path, check_files), "latest": path.name == newest} for path in committed(folder)
    ]
    _print(rows, as_json)
    if not rows:
        typer.echo(f"no checkpoints in {folder}", err=True)


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="A checkpoint, or a folder of them.")],
    as_json: AsJson = False,
) -> None:
    """Read every byte of PATH and compare it with its hash. Exit status 1 when one is damaged."""
    from headrace.checkpoint.errors import CheckpointNotFound
    from headrace.checkpoint.folder import committed, step_of
    from headrace.checkpoint.verification import verify as verify_checkpoint

    paths = [path] if step_of(path) is not None else committed(path)
    if not paths:
        raise CheckpointNotFound(path)
    rows = [_row(one, verify_checkpoint) for one in paths]
    _print(rows, as_json)
    if any(row["damage"] is not None for row in rows):
        raise typer.Exit(1)


def _row(path: Path, check: Callable[[Path], "Manifest"]) -> dict[str, object]:
    """One checkpoint as ``check`` finds it; ``damage`` is None or the reason."""
    from headrace.checkpoint.errors import DamagedCheckpoint
    from headrace.checkpoint.folder import step_of

    row: dict[str, object] = {"step": step_of(path), "path": str(path)}
    try:
        manifest = check(path)
    except DamagedCheckpoint as error:
        return {**row, "size_bytes": None, "tensors": None, "damage": error.reason}
    tensors = len(manifest.tensors) + len(manifest.aliases)
    return {**row, "size_bytes": manifest.size_bytes, "tensors": tensors, "damage": None}


def _print(rows: list[dict[str, object]], as_json: bool) -> None:
    import json

    if as_json:
        typer.echo(json.dumps({"schema": 1, "checkpoints": rows}))
        return
    for row in rows:
        if row["damage"] is not None:
            state = f"damaged: {row['damage']}"
        else:
            state = f"{row['size_bytes']:>14,} bytes  {row['tensors']:>6} tensors  ok"
        mark = "  latest" if row.get("latest") else ""
        typer.echo(f"{row['path']}  {state}{mark}")
