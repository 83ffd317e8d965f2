"""``headrace data``: make token data sets, look into them, verify them, say which samples came."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.data.dataset import Piece
    from headrace.data.packed import PackedTokens

app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Make and inspect token data sets."
)

AsJson = Annotated[bool, typer.Option("--json", help="Print for a program.")]
DataFile = Annotated[Path, typer.Argument(help="A data set.")]


@app.command()
def pack(
    paths: Annotated[list[Path], typer.Argument(help="Text files, or folders of them.")],
    out: Annotated[Path, typer.Option("--out", help="File to write.")],
    window: Annotated[int, typer.Option("--window", help="Tokens that a sample predicts.")],
    tokenizer: Annotated[
        str, typer.Option("--tokenizer", help="bytes, or the path of a tokenizer.json.")
    ] = "bytes",
    glob: Annotated[
        str, typer.Option("--glob", help="Which files of a folder, at any depth.")
    ] = "*.txt",
    as_json: AsJson = False,
) -> None:
    """Pack text files into one token data set."""
    import sys

    from headrace.core.records import to_builtins
    from headrace.data.pack import pack_text
    from headrace.data.tokenizer import load_tokenizer

    files = [
        file
        for path in paths
        for file in (
            (found for found in path.rglob(glob) if found.is_file()) if path.is_dir() else [path]
        )
    ]
    progress = _show_progress if sys.stderr.isatty() else None
    summary = pack_text(
        files, out, window=window, tokenizer=load_tokenizer(tokenizer), progress=progress
    )
    for skipped in summary.skipped:
        typer.echo(f"skipped {skipped.source}: {skipped.reason}", err=True)
    if as_json:
        _print_json(to_builtins(summary))
        return
    typer.echo(
        f"{summary.path}: {summary.windows:,} samples of {summary.window} tokens from "
        f"{summary.documents:,} documents, {len(summary.skipped)} skipped, "
        f"{summary.dropped_tokens} tokens left over, {summary.size_bytes:,} bytes"
    )


@app.command()
def show(
    file: DataFile,
    sample: Annotated[int | None, typer.Option("--sample", help="Show this sample.")] = None,
    as_json: AsJson = False,
) -> None:
    """Describe a data set, or one sample of it."""
    from headrace.data.formats import open as open_data

    dataset = open_data(file)
    if sample is not None:
        _show_sample(dataset, sample, as_json)
        return
    header = dataset.header
    facts = {
        "path": str(file),
        "samples": len(dataset),
        "window": dataset.window,
        "vocab": dataset.vocab,
        "tokenizer": header.tokenizer,
        "token_bytes": header.token_bytes,
        "documents": header.documents,
        "tokens": header.tokens,
        "block_bytes": header.block_bytes,
        "fingerprint": dataset.fingerprint,
    }
    if as_json:
        _print_json(facts)
        return
    for name, value in facts.items():
        typer.echo(f"{name:12} {value}")


@app.command()
def verify(file: DataFile, as_json: AsJson = False) -> None:
    """Read all of FILE and compare it with its checksums. Exit status 1 when it is damaged."""
    from headrace.data.formats import open as open_data

    dataset = open_data(file)
    damage = dataset.damage()
    if as_json:
        rows = [
            {"block": one.block, "start": one.start, "stop": one.stop, "reason": one.why}
            for one in damage
        ]
        _print_json({"path": str(file), "blocks": dataset.header.blocks, "damage": rows})
    else:
        for one in damage:
            typer.echo(f"block {one.block} (bytes {one.start} to {one.stop}): {one.why}")
        typer.echo(f"{file}: {dataset.header.blocks} blocks, {len(damage)} damaged")
    if damage:
        raise typer.Exit(1)


@app.command("which-samples")
def which_samples(
    file: DataFile,
    step: Annotated[int, typer.Option("--step", min=1, help="Optimizer step, from 1.")],
    global_batch: Annotated[int, typer.Option("--global-batch", min=1)],
    seed: Annotated[int, typer.Option("--seed")],
    split: Annotated[
        tuple[float, float], typer.Option("--split", help="Part of the data set, as fractions.")
    ] = (0.0, 1.0),
    as_json: AsJson = False,
) -> None:
    """Say which samples an optimizer step trained on, in order, and where they come from.

    Holds for a run with this global batch and seed from its first step on, at any world size.
    """
    from headrace.core.records import to_builtins
    from headrace.data.formats import open as open_data
    from headrace.data.order import batch_positions, samples_at

    dataset = open_data(file, split=split)
    positions = batch_positions((step - 1) * global_batch, global_batch)
    indices = samples_at(seed, positions, _samples(dataset)).tolist()
    origins = [dataset.origin(index) for index in indices]
    if as_json:
        samples = [
            {"sample": index, "epoch": position // len(dataset), "origin": to_builtins(origin)}
            for index, position, origin in zip(indices, positions.tolist(), origins, strict=True)
        ]
        _print_json({"step": step, "samples": samples})
        return
    for index, origin in zip(indices, origins, strict=True):
        typer.echo(f"{index:>10}  {_origin_text(origin)}")


def _show_sample(dataset: "PackedTokens", sample: int, as_json: bool) -> None:
    import numpy as np

    from headrace.core.records import to_builtins
    from headrace.data.errors import NoSuchSample

    if not 0 <= sample < len(dataset):
        raise NoSuchSample(dataset.path, sample, len(dataset))
    tokens = dataset.read(np.array([sample]))[0].tolist()
    origin = dataset.origin(sample)
    if as_json:
        _print_json({"sample": sample, "tokens": tokens, "origin": to_builtins(origin)})
        return
    typer.echo(f"sample {sample}  {_origin_text(origin)}", err=True)
    if dataset.header.tokenizer == "bytes":
        text = bytes(token for token in tokens if token < 256)
        typer.echo(text.decode(errors="replace"))
    else:
        typer.echo(" ".join(str(token) for token in tokens))


def _samples(dataset: "PackedTokens") -> int:
    from headrace.data.errors import NoSuchSample

    if not len(dataset):
        raise NoSuchSample(dataset.path, 0, 0)
    return len(dataset)


def _origin_text(origin: "tuple[Piece, ...]") -> str:
    return ", ".join(f"{piece.source}[{piece.start}:{piece.stop}]" for piece in origin)


def _show_progress(done_bytes: int, all_bytes: int) -> None:
    percent = 100 * done_bytes // max(1, all_bytes)
    typer.echo(f"\rpacking {percent}%", nl=done_bytes >= all_bytes, err=True)


def _print_json(facts: object) -> None:
    import json

    assert isinstance(facts, dict)
    typer.echo(json.dumps({"schema": 1, **facts}))
