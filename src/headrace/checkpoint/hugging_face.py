"""Models as Hugging Face has them: safetensors files, with an index when there are several.

Export takes only a model's tensors from a checkpoint; import makes a checkpoint of step 0 that a
session starts from. Tied tensors are written once; in the file's metadata the names left out stand
with the name kept, as ``safetensors.torch.save_model`` writes them. No torch.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from headrace.checkpoint.box import Box, whole
from headrace.checkpoint.conversion import FLOATS, convert
from headrace.checkpoint.disk import write_new
from headrace.checkpoint.errors import BadSafetensors, NoSuchModel
from headrace.checkpoint.manifest import ITEM_BYTES, Manifest
from headrace.checkpoint.reader import Bytes, CheckpointReader
from headrace.checkpoint.rewrite import (
    Report,
    counted,
    origin_of,
    write_checkpoint,
    write_folder,
)
from headrace.checkpoint.safetensors import read_header
from headrace.checkpoint.shard import Placed, grouped, widest_first
from headrace.checkpoint.stream import Done, Origin, Piece, write_file

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
FILE_BYTES = 5 << 30
IMPORTED_FILE_BYTES = 4 << 30
_INDEX_LIMIT_BYTES = 256 << 20


# --- export -------------------------------------------------------------------------------------


def export_model(
    path: Path,
    out: Path,
    *,
    model: str | None = None,
    dtype: str | None = None,
    file_bytes: int = FILE_BYTES,
    report: Report = lambda done, of: None,
) -> list[str]:
    """Write a model of the checkpoint at ``path`` into the new folder ``out``; return its files.

    ``model``: its name in ``run.track``; needed when there are several. ``dtype``: of ``FLOATS``,
    for its floating point tensors. Raise ``NoSuchModel``, ``OutputInUse``, ``CheckpointNotFound``,
    ``DamagedCheckpoint``, ``OSError``.
    """
    written: list[str] = []
    reader = CheckpointReader(path)
    prefix = _prefix(reader.manifest, path, model)
    stored_as = {name: name for name in reader.manifest.tensors} | reader.manifest.aliases
    kept: dict[str, str] = {}  # stored, perhaps as part of another model -> its first name in this
    tied: dict[str, str] = {}
    for name, stored in stored_as.items():
        if name.startswith(prefix):
            short = name.removeprefix(prefix)
            first = kept.setdefault(stored, short)
            if first != short:
                tied[short] = first
    origins = [
        _as_type(replace(origin_of(reader, stored), name=name), dtype)
        for stored, name in kept.items()
    ]
    tell = counted(report, sum(origin.size_bytes for origin in origins))
    groups = grouped(origins, file_bytes)
    write_folder(out, lambda folder: written.extend(_write_model(folder, groups, tied, tell)))
    return written


def models_of(manifest: Manifest) -> list[str]:
    """Names of the models of a session's checkpoint: the objects that are no more than tensors."""
    objects = manifest.state.get("objects")
    if not isinstance(objects, dict):
        return []
    return [
        name for name, one in objects.items() if isinstance(one, dict) and one.keys() == {"extra"}
    ]


def _prefix(manifest: Manifest, path: Path, model: str | None) -> str:
    models = models_of(manifest)
    if model is None and "objects" not in manifest.state:
        return ""  # not a session's: its tensors are the model
    if model is None and len(models) == 1:
        return f"{models[0]}/"
    if model not in models:
        raise NoSuchModel(path, model, models)
    return f"{model}/"


def _as_type(origin: Origin, dtype: str | None) -> Origin:
    if dtype is None or origin.dtype not in FLOATS or origin.dtype == dtype:
        return origin
    read, source = origin.read, origin.dtype

    def converted(box: Box) -> Bytes:
        return convert(read(box), source, dtype)

    return replace(origin, dtype=dtype, read=converted)


def _write_model(
    folder: Path, groups: Sequence[Sequence[Origin]], tied: dict[str, str], tell: Done
) -> list[str]:
    names = [SINGLE]
    if len(groups) > 1:
        count = len(groups)
        names = [f"model-{n:05d}-of-{count:05d}.safetensors" for n in range(1, count + 1)]
    for name, group in zip(names, groups, strict=True):
        here = {origin.name for origin in group}
        metadata = {"format": "pt"} | {a: kept for a, kept in tied.items() if kept in here}
        pieces = [Piece(origin, whole(origin.shape)) for origin in widest_first(group)]
        write_file(folder / name, pieces, metadata=metadata, done=tell)
    if len(groups) == 1:
        return names
    files: dict[str, str] = {}
    total_bytes = 0
    for name, group in zip(names, groups, strict=True):
        files |= {origin.name: name for origin in group}
        total_bytes += sum(origin.size_bytes for origin in group)
    index = {"metadata": {"total_size": total_bytes}, "weight_map": dict(sorted(files.items()))}
    write_new(folder / INDEX, json.dumps(index, indent=2).encode() + b"\n")
    return [*names, INDEX]


# --- import -------------------------------------------------------------------------------------


def import_model(
    source: Path,
    root: Path,
    *,
    model: str = "model",
    dtype: str | None = None,
    report: Report = lambda done, of: None,
) -> Path:
    """Make a checkpoint of step 0 below ``root`` of a safetensors file, or a folder of them.

    Return it. ``model``: the name that the script gives it in ``run.track``. A session restores the
    model from it; what else it tracks begins anew. Raise ``BadSafetensors``, ``OutputInUse``,
    ``OSError``.
    """
    with ExitStack() as stack:
        origins = [
            _as_type(replace(origin, name=f"{model}/{origin.name}"), dtype)
            for path in model_files(source)
            for origin in _origins(path, stack)
        ]
        total_bytes = sum(origin.size_bytes for origin in origins)
        return write_checkpoint(
            root,
            origins,
            step=0,
            aliases={},
            state=_start_state(model),
            shards=max(1, -(-total_bytes // IMPORTED_FILE_BYTES)),
            report=report,
        )


def _start_state(model: str) -> dict[str, object]:
    """What a session's checkpoint says before the first step (``headrace.train.saving``)."""
    session: dict[str, object] = {
        "step": 0,
        "samples": 0,
        "loss": None,
        "expected": [],
        "world_size": 1,
        "data": None,
    }
    return {"session": session, "objects": {model: {"extra": {}}}, "weights_only": True}


def model_files(source: Path) -> list[Path]:
    """The file, or those of a folder: what its index lists, else all. Raise ``BadSafetensors``
    unless each name is in one file, and the index says so."""
    if source.is_file():
        return [source]
    index = source / INDEX
    listed = _read_index(index) if index.is_file() else None
    names = sorted(set(listed.values())) if listed is not None else None
    found = sorted(source.glob("*.safetensors")) if names is None else [source / n for n in names]
    if not found:
        raise BadSafetensors(source, "there is no .safetensors file in it")
    where: dict[str, str] = {}
    for path in found:
        for tensor in read_header(path).tensors:
            if tensor.name in where:
                raise BadSafetensors(path, f"{tensor.name!r} is also in {where[tensor.name]}")
            where[tensor.name] = path.name
    if listed is not None and listed != where:
        name = min(listed.items() ^ where.items())[0]
        says, lies = listed.get(name, "no file"), where.get(name, "none")
        raise BadSafetensors(index, f"it says that {name!r} is in {says}, but it is in {lies}")
    return found


def _read_index(path: Path) -> dict[str, str]:
    try:
        if path.stat().st_size > _INDEX_LIMIT_BYTES:
            raise BadSafetensors(path, "it is too large for an index")
        listed = json.loads(path.read_bytes())["weight_map"]
        names = set(listed.values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BadSafetensors(path, f"it is no index: {error}") from error
    for name in names:
        if not isinstance(name, str) or "/" in name or not name.endswith(".safetensors"):
            raise BadSafetensors(path, f"{name!r} is no file beside it")
    return {str(name): file for name, file in listed.items()}


def _origins(path: Path, stack: ExitStack) -> Iterator[Origin]:
    header = read_header(path)
    file = stack.enter_context(path.open("rb"))
    for tensor in header.tensors:

        def read(box: Box, tensor: Placed = tensor) -> Bytes:
            """``box`` is a run of the tensor: pieces are written in order."""
            item_bytes = ITEM_BYTES[tensor.dtype]
            first = header.data_start + tensor.start + _index(box, tensor.shape) * item_bytes
            data = np.empty(box.elements * item_bytes, dtype=np.uint8)
            try:
                file.seek(first)
                got = file.readinto(data.data)
            except OSError as error:
                raise BadSafetensors(path, error.strerror or str(error)) from error
            if got != data.size:
                raise BadSafetensors(path, "it ends too early")
            return data

        yield Origin(tensor.name, tensor.dtype, tensor.shape, read)


def _index(box: Box, shape: Sequence[int]) -> int:
    """Where the first element of a box lies in a row-major array."""
    index = 0
    for offset, extent in zip(box.offsets, shape, strict=True):
        index = index * extent + offset
    return index
