"""Check every byte of a checkpoint against its hashes, without torch and in bounded memory."""

from collections.abc import Mapping
from pathlib import Path

from headrace.checkpoint.errors import CheckpointNotFound, DamagedCheckpoint
from headrace.checkpoint.manifest import FileEntry, Manifest, TensorEntry, read_manifest
from headrace.checkpoint.shard import Span, check_shard


def verify(folder: str | Path) -> Manifest:
    """Raise ``DamagedCheckpoint``, or ``CheckpointNotFound`` when there is no such folder."""
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointNotFound(folder)
    manifest = read_manifest(folder)
    check_shards(folder, manifest.files, manifest.tensors)
    return manifest


def check_shards(
    folder: Path, files: Mapping[str, FileEntry], tensors: Mapping[str, TensorEntry]
) -> None:
    """Compare every byte of these files with its hash. Raise ``DamagedCheckpoint``."""
    spans: dict[str, list[Span]] = {name: [] for name in files}
    for tensor, entry in tensors.items():
        for chunk in entry.chunks:
            span = Span(tensor, chunk.start, chunk.stop, chunk.xxh3_128)
            spans[chunk.file].append(span)
    for name, file in files.items():
        check_shard(folder, name, file, spans[name])


def check_files(folder: Path) -> Manifest:
    """The quick check: the manifest is whole, and the shards are there with their lengths.

    Does not find flipped bits in tensors. Raise ``DamagedCheckpoint``.
    """
    manifest = read_manifest(folder)
    for name, file in manifest.files.items():
        path = folder / name
        size_bytes = path.stat().st_size if path.exists() else None
        if size_bytes != file.size_bytes:
            found = "is missing" if size_bytes is None else f"has {size_bytes} bytes"
            raise DamagedCheckpoint(folder, f"{name}: {found}, not {file.size_bytes} bytes")
    return manifest
