"""``headrace data``: index and pack data sets, inspect and verify them, say which samples came."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import data_cache, termination
from headrace.cli.data_sample import origin_text, print_json, show_sample

if TYPE_CHECKING:
    from headrace.data.dataset import Dataset
    from headrace.data.pack import Progress
    from headrace.data.plan import State
    from headrace.data.recorded import Part
    from headrace.data.repack import RepackSummary

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(data_cache.app, name="cache")

AsJson = Annotated[bool, typer.Option("--json", help="Print for a program.")]
DataPath = Annotated[
    Path, typer.Argument(help="A packed file, an index, or what has been indexed.")
]


@app.callback()
def data() -> None:
    """Make and inspect data sets."""
    termination.as_interrupt()


@app.command()
def index(
    path: Annotated[Path, typer.Argument(help="A file or folder with samples.")],
    format: Annotated[
        str | None, typer.Option("--format", help="Its format, where it cannot be told.")
    ] = None,
    window: Annotated[
        int | None, typer.Option("--window", help="Tokens that a sample predicts.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="Type of the tokens of a file without a header.")
    ] = None,
    vocab: Annotated[
        int | None, typer.Option("--vocab", help="Every token is below this number.")
    ] = None,
    glob: Annotated[
        str | None, typer.Option("--glob", help="Which files of a folder, at any depth.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where to write the index; default: beside PATH.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Index a data set in place: where its samples lie, and the hash that each must have."""
    from headrace.core.records import to_builtins
    from headrace.data.formats.format import Options
    from headrace.data.indexing import index_path

    summary = index_path(
        path,
        format=format,
        options=Options(window=window, dtype=dtype, vocab=vocab, glob=glob),
        out=out,
        progress=_progress("indexing"),
    )
    if as_json:
        print_json(to_builtins(summary))
        return
    typer.echo(
        f"{summary.path}: {summary.samples:,} samples of {summary.format} in {summary.files:,} "
        f"files, {summary.data_bytes:,} bytes hashed; index {summary.index} "
        f"({summary.index_bytes:,} bytes)"
    )
    for advice in summary.advice:
        typer.echo(f"advice: {advice}", err=True)


@app.command()
def pack(
    paths: Annotated[
        list[Path], typer.Argument(help="Text files, folders of them, or an indexed data set.")
    ],
    out: Annotated[Path, typer.Option("--out", help="File to write.")],
    window: Annotated[
        int | None, typer.Option("--window", help="Tokens that a sample of text predicts.")
    ] = None,
    tokenizer: Annotated[
        str, typer.Option("--tokenizer", help="bytes, or the path of a tokenizer.json.")
    ] = "bytes",
    glob: Annotated[
        str, typer.Option("--glob", help="Which text files of a folder, at any depth.")
    ] = "*.txt",
    as_json: AsJson = False,
) -> None:
    """Pack text into windows of tokens, or a data set that is indexed into one fast file.

    With --window PATHS are text; without it, a data set.
    """
    from headrace.core.records import to_builtins

    if window is None:
        summary = _pack_dataset(paths, out)
        if as_json:
            print_json(to_builtins(summary))
            return
        typer.echo(f"{out}: {summary.samples:,} samples, {summary.size_bytes:,} bytes")
        return
    from headrace.data.pack import pack_text
    from headrace.data.tokenizer import load_tokenizer

    packed = pack_text(
        _text_files(paths, glob),
        out,
        window=window,
        tokenizer=load_tokenizer(tokenizer),
        progress=_progress("packing"),
    )
    for skipped in packed.skipped:
        typer.echo(f"skipped {skipped.source}: {skipped.reason}", err=True)
    if as_json:
        print_json(to_builtins(packed))
        return
    typer.echo(
        f"{packed.path}: {packed.windows:,} samples of {packed.window} tokens from "
        f"{packed.documents:,} documents, {len(packed.skipped)} skipped, "
        f"{packed.dropped_tokens} tokens left over, {packed.size_bytes:,} bytes"
    )


@app.command()
def show(
    path: DataPath,
    sample: Annotated[int | None, typer.Option("--sample", help="Show this sample.")] = None,
    as_json: AsJson = False,
) -> None:
    """Describe a data set, or one sample of it."""
    from headrace.data.opening import open as open_data

    dataset = open_data(path)
    if sample is not None:
        show_sample(dataset, sample, as_json)
        return
    header, meta = dataset.index.header, dataset.meta
    facts = {
        "path": str(path),
        "format": dataset.index.format,
        "samples": len(dataset),
        "units": header.units,
        "files": dataset.index.files,
        **meta.get("tokens", {}),
        **meta.get("text", {}),
        "index": str(dataset.index.path),
        "fingerprint": dataset.fingerprint,
    }
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        typer.echo(f"{name:16} {value}")


@app.command()
def stat(path: DataPath, as_json: AsJson = False) -> None:
    """Counts, sizes and files of a data set, with a histogram of the sizes of its samples."""
    from headrace.core.records import to_builtins
    from headrace.data.opening import open as open_data
    from headrace.data.stat import measure

    found = measure(open_data(path))
    if as_json:
        print_json(to_builtins(found))
        return
    typer.echo(
        f"{found.path}: {found.samples:,} samples in {found.units:,} units of {found.files:,} "
        f"files, {found.data_bytes:,} bytes"
    )
    typer.echo(
        f"bytes per sample: least {found.least_bytes:,}, mean {found.mean_bytes:,.0f}, "
        f"most {found.most_bytes:,}"
    )
    most = max((bin.samples for bin in found.sizes), default=1)
    for bin in found.sizes:
        bar = "#" * -(-40 * bin.samples // most)
        typer.echo(f"{bin.low_bytes:>14,} to {bin.high_bytes:<14,} {bin.samples:>12,} {bar}")


@app.command()
def verify(path: DataPath, as_json: AsJson = False) -> None:
    """Read all of a data set and compare it with its checksums. Exit status 1 when damaged."""
    from headrace.core.records import to_builtins
    from headrace.data.opening import open as open_data
    from headrace.data.verify import verify as verify_all

    found = verify_all(open_data(path), progress=_progress("verifying"))
    if as_json:
        print_json(to_builtins(found))
    else:
        for one in found.damage:
            of = f"sample {one.index}: " if one.index >= 0 else ""
            typer.echo(f"{of}{one.path} bytes {one.start} to {one.stop}: {one.why}")
        typer.echo(f"{path}: {found.samples:,} samples, {len(found.damage)} damaged places")
    if found.damage:
        raise typer.Exit(1)


@app.command()
def packs(
    path: DataPath,
    window: Annotated[int, typer.Option("--window", help="Tokens that a row predicts.")],
    field: Annotated[
        str | None, typer.Option("--field", help="Of samples with fields: the one with tokens.")
    ] = None,
    split: Annotated[
        tuple[float, float], typer.Option("--split", help="A part of the data set, as fractions.")
    ] = (0.0, 1.0),
    as_json: AsJson = False,
) -> None:
    """Decide which documents of a data set share a row, before a program asks for it."""
    from headrace.data.opening import open as open_data
    from headrace.data.packs import in_packs

    dataset = open_data(path, split=split)
    packed = in_packs(dataset, window=window, field=field)
    table = packed.table.path
    if as_json:
        print_json(
            {
                "packs": len(packed),
                "window": window,
                "documents": len(dataset),
                "fill": packed.fill_share,
                "table": str(table),
            }
        )
        return
    typer.echo(
        f"{path}: {len(packed):,} packs of {window} tokens from {len(dataset):,} documents, "
        f"{packed.fill_share:.1%} filled; {table}"
    )


@app.command("which-samples")
def which_samples(
    what: Annotated[str, typer.Argument(help="A run, or a data set.")],
    step: Annotated[int, typer.Option("--step", min=1, help="Optimizer step, from 1.")],
    global_batch: Annotated[
        int | None, typer.Option("--global-batch", min=1, help="Of a data set: the batch.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Of a data set: the seed of its order.")
    ] = None,
    split: Annotated[
        tuple[float, float], typer.Option("--split", help="Of a data set: a part, as fractions.")
    ] = (0.0, 1.0),
    as_json: AsJson = False,
) -> None:
    """Say which samples an optimizer step took over all ranks, in order, and where they lie.

    Of a run, whatever its world sizes, batches and weights were. Of a data set, for a loop with
    this global batch and seed from its first step on.
    """
    from headrace.core.records import to_builtins
    from headrace.data.origins import origin_of
    from headrace.data.recorded import drawn_in

    state, parts = _recorded(what, global_batch, seed, split)
    origins = {part: origin_of(part, lambda text: typer.echo(text, err=True)) for part in parts}
    drawn = [(one, origins[one.part](one.sample)) for one in drawn_in(state, parts, step - 1)]
    if not drawn:
        typer.echo(f"step {step} comes behind the end of the data", err=True)
    if as_json:
        samples = [
            {
                "source": one.part.name,
                "sample": one.sample,
                "epoch": one.epoch,
                "origin": to_builtins(origin),
            }
            for one, origin in drawn
        ]
        print_json({"step": step, "samples": samples})
        return
    for one, origin in drawn:
        name = f"{one.part.name}  " if one.part.name else ""
        typer.echo(f"{one.sample:>10}  {name}{origin_text(origin)}".rstrip())


def _recorded(
    what: str, global_batch: int | None, seed: int | None, split: tuple[float, float]
) -> "tuple[State, tuple[Part, ...]]":
    """Of a run as it was written down; of a data set as it would be."""
    from headrace.cli.connection import run_dir
    from headrace.data.ask import ask
    from headrace.data.opening import open as open_data
    from headrace.data.plan import planned
    from headrace.data.recorded import parts_of, recorded

    if global_batch is None and seed is None:
        return recorded(run_dir(what).data)
    if global_batch is None or seed is None:
        raise typer.BadParameter("a data set needs both --global-batch and --seed")
    dataset = open_data(what, split=split)
    _samples(dataset)
    return planned(ask(dataset, global_batch=global_batch, seed=seed)), parts_of(dataset)


def _pack_dataset(paths: list[Path], out: Path) -> "RepackSummary":
    from headrace.data.errors import PackRefused
    from headrace.data.opening import open as open_data
    from headrace.data.repack import pack_dataset

    if len(paths) != 1:
        raise PackRefused(
            f"{len(paths)} paths cannot be packed without --window",
            why="text needs the length of a sample; a data set is packed alone",
            remedy="give --window N to pack text, or one data set that has been indexed",
        )
    return pack_dataset(open_data(paths[0]), out, progress=_progress("packing"))


def _text_files(paths: list[Path], glob: str) -> list[Path]:
    from os.path import isdir  # no error for a path that cannot be looked at: packing tells of it

    try:
        return [
            file
            for path in paths
            for file in (
                (found for found in path.rglob(glob) if found.is_file()) if isdir(path) else [path]
            )
        ]
    except (NotImplementedError, ValueError) as error:  # a pattern that begins with a slash
        raise typer.BadParameter(f"--glob {glob!r}: {error}") from error


def _samples(dataset: "Dataset") -> int:
    from headrace.data.errors import NoSuchSample

    if not len(dataset):
        raise NoSuchSample(dataset.path, 0, 0)
    return len(dataset)


def _progress(what: str) -> "Progress | None":
    """A line that is written over, on a terminal."""
    import sys

    if not sys.stderr.isatty():
        return None
    shown = -1

    def show(done: int, of: int) -> None:
        nonlocal shown
        percent = 100 * done // max(1, of)
        if percent != shown:
            shown = percent
            typer.echo(f"\r{what} {percent}%", nl=done >= of, err=True)

    return show
