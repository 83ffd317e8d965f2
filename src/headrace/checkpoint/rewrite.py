"""Write a checkpoint from tensors that lie elsewhere: in files of another number, or of others.

Memory is bounded whatever the size of the tensors; nothing appears under its name before every byte
is on the disk and was compared. No torch.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from headrace.checkpoint.disk import write_new
from headrace.checkpoint.errors import OutputInUse
from headrace.checkpoint.folder import (
    LATEST,
    committed,
    discard,
    step_name,
    temporary_path,
)
from headrace.checkpoint.manifest import MANIFEST, VERSION, Manifest, encode_manifest
from headrace.checkpoint.reader import CheckpointReader
from headrace.checkpoint.stream import Done, Origin, entries, spread, write_file
from headrace.core.records import sync_folder, temporary_beside
from headrace.core.records import write_file as replace_file

Report = Callable[[int, int], None]
"""(bytes written, bytes in all) so far."""


def reshard(path: Path, out: Path, *, shards: int, report: Report = lambda done, of: None) -> Path:
    """Write the checkpoint at ``path`` into the folder of checkpoints ``out``, in ``shards`` files.

    Return the new one. Raise ``CheckpointNotFound``, ``DamagedCheckpoint``, ``OutputInUse``,
    ``OSError``.
    """
    reader = CheckpointReader(path)
    return write_checkpoint(
        out,
        [origin_of(reader, name) for name in reader.manifest.tensors],
        step=reader.manifest.step,
        aliases=reader.manifest.aliases,
        state=reader.manifest.state,
        shards=shards,
        report=report,
    )


def origin_of(reader: CheckpointReader, name: str) -> Origin:
    """A stored tensor of a checkpoint."""
    entry = reader.manifest.tensors[name]
    return Origin(name, entry.dtype, entry.shape, lambda box: reader.read(name, box))


def write_checkpoint(
    root: Path,
    origins: Sequence[Origin],
    *,
    step: int,
    aliases: dict[str, str],
    state: dict[str, object],
    shards: int,
    report: Report,
) -> Path:
    """Commit a new checkpoint below ``root``. Raise ``OutputInUse``, ``OSError``, and what reading
    the tensors raises; then nothing of it is left."""
    path = root / step_name(step)
    if path.exists():
        raise OutputInUse(path)
    root.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(root, step)
    try:
        temporary.mkdir()
        tell = counted(report, sum(origin.size_bytes for origin in origins))
        files, chunks = {}, []
        for number, pieces in enumerate(spread(origins, shards)):
            name = f"shard-{number:05d}.safetensors"
            files[name], of_file = write_file(temporary / name, pieces, done=tell)
            chunks += of_file
        manifest = Manifest(
            version=VERSION,
            step=step,
            files=files,
            tensors=entries(origins, chunks),
            aliases=aliases,
            state=state,
        )
        write_new(temporary / MANIFEST, encode_manifest(manifest))
        sync_folder(temporary)
        _rename_new(temporary, path)
    except BaseException:
        discard(temporary)
        raise
    if committed(root)[0] == path:
        with contextlib.suppress(OSError):  # a hint for people
            replace_file(root / LATEST, path.name.encode() + b"\n")
    return path


def counted(report: Report, total_bytes: int) -> Done:
    """Adds up what is done."""
    done_bytes = 0

    def tell(size_bytes: int) -> None:
        nonlocal done_bytes
        done_bytes += size_bytes
        report(done_bytes, total_bytes)

    return tell


def write_folder(out: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a folder that appears as ``out`` when it is complete; in one that is there
    and empty its files do. Raise ``OutputInUse``, ``OSError``, and what ``write`` raises; then
    nothing of it is left."""
    if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
        raise OutputInUse(out)
    inside = out.is_dir()  # perhaps a mount point, or where somebody stands: it stays that folder
    temporary = temporary_beside(out / "files" if inside else out)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    temporary.mkdir()
    try:
        write(temporary)
        sync_folder(temporary)
        if inside:
            for path in sorted(temporary.iterdir()):  # an index is the last
                os.rename(path, out / path.name)
            temporary.rmdir()
            sync_folder(out)
        else:
            _rename_new(temporary, out)
    except BaseException:
        discard(temporary)
        raise


def _rename_new(temporary: Path, path: Path) -> None:
    """Raise ``OutputInUse`` when somebody else has made it meanwhile."""
    try:
        os.rename(temporary, path)
    except OSError as error:
        if os.path.lexists(path):
            raise OutputInUse(path) from error
        raise
    sync_folder(path.parent)
