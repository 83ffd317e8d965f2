"""Samples in words and as JSON, for ``headrace data``."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from headrace.data.dataset import Dataset
    from headrace.data.index import Piece

_PREVIEW_BYTES = 64


def show_sample(dataset: "Dataset", sample: int, as_json: bool) -> None:
    from headrace.core.records import to_builtins
    from headrace.data.errors import NoSuchSample

    if not 0 <= sample < len(dataset):
        raise NoSuchSample(dataset.path, sample, len(dataset))
    found, origin = dataset[sample], dataset.origin(sample)
    name = "tokens" if dataset.is_tokens else "content"
    if as_json:
        content = found.tolist() if dataset.is_tokens else _preview(found)
        print_json({"sample": sample, name: content, "origin": to_builtins(origin)})
        return
    typer.echo(f"sample {sample}  {origin_text(origin)}", err=True)
    if not dataset.is_tokens:
        _show_content(found)
    elif dataset.meta.get("text", {}).get("tokenizer") == "bytes":
        typer.echo(bytes(token for token in found.tolist() if token < 256).decode(errors="replace"))
    else:
        typer.echo(" ".join(str(token) for token in found.tolist()))


def _show_content(sample: object) -> None:
    content = _preview(sample)
    if isinstance(content, dict):
        for name, value in content.items():
            typer.echo(f"{name:16} {value}")
    else:
        typer.echo(str(content))


def _preview(sample: object) -> object:
    """As JSON; of long bytes and arrays, how long they are and how they begin."""
    if isinstance(sample, Mapping):
        return {str(name): _preview(value) for name, value in sample.items()}
    if isinstance(sample, bytes | bytearray | memoryview):
        more = "..." if len(sample) > _PREVIEW_BYTES else ""
        return f"{len(sample)} bytes: {bytes(sample[:_PREVIEW_BYTES])!r}{more}"
    if hasattr(sample, "dtype") and hasattr(sample, "shape"):
        return f"{sample.dtype} array of shape {tuple(sample.shape)}"
    if isinstance(sample, list | tuple):
        return [_preview(value) for value in sample]
    return sample if isinstance(sample, str | int | float | bool | None) else repr(sample)


def origin_text(origin: "tuple[Piece, ...]") -> str:
    return ", ".join(f"{piece.source}[{piece.start}:{piece.stop}]" for piece in origin)


def print_json(facts: object) -> None:
    import json

    assert isinstance(facts, dict)
    typer.echo(json.dumps({"schema": 1, **facts}))
