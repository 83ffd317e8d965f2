"""``headrace checkpoint``: what there is to go back to, whether it is whole, and how it gets in and
out. Without torch."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from headrace.cli import termination
from headrace.cli.progress import Progress

if TYPE_CHECKING:
    from headrace.checkpoint.manifest import Manifest


class InWords(TyperGroup):
    """What the system refuses to any of the commands is told in words; who is told to end cleans
    up."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        from headrace.checkpoint.errors import FileRefused

        termination.as_interrupt()
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise FileRefused(error) from error


app = typer.Typer(
    cls=InWords,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="List, verify and rewrite checkpoints.",
)

DtypeWord = Literal["f64", "f32", "f16", "bf16"]
AsJson = Annotated[bool, typer.Option("--json", help="Print for a program.")]


@app.command()
def ls(
    folder: Annotated[Path, typer.Argument(help="A folder of checkpoints.")],
    as_json: AsJson = False,
) -> None:
    """List the checkpoints in FOLDER, newest first. Quick: tensors are not read, see verify."""
    from headrace.checkpoint.errors import CheckpointNotFound
    from headrace.checkpoint.folder import latest
    from headrace.checkpoint.verification import check_files

    if not folder.is_dir():
        raise CheckpointNotFound(folder)
    newest = latest(folder)
    rows = [
        {**row, "latest": Path(str(row["path"])).name == newest}
        for row in _rows(folder, check_files)
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
    from headrace.checkpoint.verification import verify as verify_checkpoint

    rows = _rows(path, verify_checkpoint)
    if not rows:
        raise CheckpointNotFound(path)
    _print(rows, as_json)
    if any(row["damage"] is not None for row in rows):
        raise typer.Exit(1)


@app.command()
def export(
    path: Annotated[Path, typer.Argument(help="A checkpoint, or a folder of them: the newest.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")],
    model: Annotated[str | None, typer.Option(help="Its name in run.track, of several.")] = None,
    dtype: Annotated[DtypeWord | None, typer.Option(help="For floating point tensors.")] = None,
    max_shard_size: Annotated[str, typer.Option(help="A file holds no more.")] = "5G",
    as_json: AsJson = False,
) -> None:
    """Write the model of PATH as Hugging Face safetensors. Every byte read is verified."""
    from headrace.checkpoint.hugging_face import export_model

    found = _checkpoint_at(path)
    file_bytes = _bytes_of(max_shard_size, "--max-shard-size")
    with Progress() as progress:
        files = export_model(
            found,
            out,
            model=model,
            dtype=None if dtype is None else dtype.upper(),
            file_bytes=file_bytes,
            report=_told(progress, "exporting"),
        )
    _print_made(as_json, [str(out / name) for name in files])


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="A .safetensors file, or a folder of them.")],
    out: Annotated[Path, typer.Option("--out", help="A folder of checkpoints, perhaps new.")],
    model: Annotated[str, typer.Option(help="The name that the script tracks it by.")] = "model",
    dtype: Annotated[DtypeWord | None, typer.Option(help="For floating point tensors.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a checkpoint of step 0 of a Hugging Face model. A session that finds it starts from it;
    its optimizer begins anew."""
    from headrace.checkpoint.errors import CheckpointNotFound
    from headrace.checkpoint.hugging_face import import_model

    if not source.exists():
        raise CheckpointNotFound(source)
    with Progress() as progress:
        made = import_model(
            source,
            out,
            model=model,
            dtype=None if dtype is None else dtype.upper(),
            report=_told(progress, "importing"),
        )
    _print_made(as_json, [str(made)])


@app.command()
def reshard(
    path: Annotated[Path, typer.Argument(help="A checkpoint, or a folder of them: the newest.")],
    out: Annotated[Path, typer.Option("--out", help="Another folder of checkpoints.")],
    shards: Annotated[int, typer.Option(min=1, help="Files of about the same size.")],
    as_json: AsJson = False,
) -> None:
    """Write PATH again in another number of files. Loading needs no such thing: it reads what any
    number of ranks wrote."""
    from headrace.checkpoint.rewrite import reshard as reshard_checkpoint

    found = _checkpoint_at(path)
    with Progress() as progress:
        made = reshard_checkpoint(found, out, shards=shards, report=_told(progress, "writing"))
    _print_made(as_json, [str(made)])


def _checkpoint_at(path: Path) -> Path:
    """``path``, or the newest checkpoint in it."""
    from headrace.checkpoint.errors import CheckpointNotFound

    found = _checkpoints_at(path)
    if not found:
        raise CheckpointNotFound(path)
    return found[0]


def _checkpoints_at(path: Path) -> list[Path]:
    """``path`` if it is a checkpoint, perhaps under a name of its own, else those in it, newest
    first."""
    from headrace.checkpoint.folder import committed, step_of

    if step_of(path) is not None or (path / "manifest.json").exists():
        return [path]
    return committed(path)


def _bytes_of(text: str, option: str) -> int:
    from headrace.core.units import parse_bytes

    try:
        size_bytes = parse_bytes(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from error
    return max(1, size_bytes)


def _told(progress: Progress, what: str) -> Callable[[int, int], None]:
    return lambda done, of: progress(what, done / max(1, of))


def _print_made(as_json: bool, paths: list[str]) -> None:
    import json

    typer.echo(json.dumps({"schema": 1, "paths": paths}) if as_json else "\n".join(paths))


def _rows(path: Path, check: Callable[[Path], "Manifest"]) -> list[dict[str, object]]:
    rows = (_row(one, check) for one in _checkpoints_at(path))
    return [row for row in rows if row is not None]


def _row(path: Path, check: Callable[[Path], "Manifest"]) -> dict[str, object] | None:
    """One checkpoint as ``check`` finds it; ``damage`` is None or the reason. None when it was
    deleted meanwhile, by a run that is saving there."""
    from headrace.checkpoint.errors import CheckpointNotFound, DamagedCheckpoint
    from headrace.checkpoint.folder import step_of

    row: dict[str, object] = {"step": step_of(path), "path": str(path)}
    try:
        manifest = check(path)
    except CheckpointNotFound:
        return None
    except DamagedCheckpoint as error:
        if not path.is_dir():
            return None
        return {**row, "size_bytes": None, "files": None, "tensors": None, "damage": error.reason}
    return {
        **row,
        "size_bytes": manifest.size_bytes,
        "files": len(manifest.files),
        "tensors": len(manifest.tensors) + len(manifest.aliases),
        "damage": None,
    }


def _print(rows: list[dict[str, object]], as_json: bool) -> None:
    import json

    if as_json:
        typer.echo(json.dumps({"schema": 1, "checkpoints": rows}))
        return
    for row in rows:
        if row["damage"] is not None:
            state = f"damaged: {row['damage']}"
        else:
            size = f"{row['size_bytes']:>14,} bytes in {row['files']:>4} files"
            state = f"{size}  {row['tensors']:>6} tensors  ok"
        mark = "  latest" if row.get("latest") else ""
        typer.echo(f"{row['path']}  {state}{mark}")
