"""``manifest.json``: what a checkpoint holds, where each byte of it lies, and its hash.

The file is one line of JSON, ``{"xxh3_128":"<32 hex digits>","manifest":{...}}``, where the hash is
that of the bytes of the inner object as they stand. Described in
docs/reference/checkpoint-format.md. No torch: a login node can check a checkpoint.
"""

import json
import math
from pathlib import Path

import xxhash

from headrace.checkpoint.errors import DamagedCheckpoint
from headrace.core.records import DecodeError, Record, decode, encode

VERSION = 1
MANIFEST = "manifest.json"
ITEM_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E4M3FNUZ": 1,
    "F8_E5M2": 1,
    "F8_E5M2FNUZ": 1,
    "F8_E8M0": 1,
    "C64": 8,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
}
"""Names of data types as safetensors writes them, and the bytes of one element."""

_PREFIX = b'{"xxh3_128":"'
_MIDDLE = b'","manifest":'
_DIGITS = 32


class Chunk(Record, frozen=True, kw_only=True):
    """A box of a tensor, row-major, in bytes ``[start, stop)`` of ``file``."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: str
    start: int
    stop: int
    xxh3_128: str


class TensorEntry(Record, frozen=True, kw_only=True):
    """A tensor: its global shape, and the chunks that together are all of it."""

    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[Chunk, ...]


class FileEntry(Record, frozen=True, kw_only=True):
    """A shard: its length, and the hash of the bytes before its first tensor."""

    size_bytes: int
    header_bytes: int
    header_xxh3_128: str


class Manifest(Record, frozen=True, kw_only=True):
    """``aliases``: name of a tied tensor -> the name under which its bytes are stored."""

    version: int
    step: int
    files: dict[str, FileEntry]
    tensors: dict[str, TensorEntry]
    aliases: dict[str, str]
    state: dict[str, object]

    @property
    def size_bytes(self) -> int:
        """Bytes of all shards."""
        return sum(file.size_bytes for file in self.files.values())


def encode_manifest(manifest: Manifest) -> bytes:
    body = encode(manifest)
    digest = xxhash.xxh3_128_hexdigest(body).encode()
    return _PREFIX + digest + _MIDDLE + body + b"}\n"


def decode_manifest(data: bytes, folder: Path) -> Manifest:
    """Raise ``DamagedCheckpoint`` unless ``data`` is exactly what ``encode_manifest`` wrote."""
    start = len(_PREFIX) + _DIGITS + len(_MIDDLE)
    body = data[start:-2]
    digest = xxhash.xxh3_128_hexdigest(body).encode()
    if data != _PREFIX + digest + _MIDDLE + body + b"}\n":
        raise DamagedCheckpoint(folder, f"the hash of {MANIFEST} differs")
    version = json.loads(body).get("version")
    if version != VERSION:
        raise DamagedCheckpoint(
            folder, f"{MANIFEST} has version {version}; this Headrace reads {VERSION}"
        )
    try:
        manifest = decode(body, Manifest)
    except DecodeError as error:
        raise DamagedCheckpoint(folder, f"{MANIFEST} is not understood: {error}") from error
    for name, entry in manifest.tensors.items():
        if not _is_whole(entry):
            raise DamagedCheckpoint(folder, f"the chunks of {name} are not all of it")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Read and check ``folder/manifest.json``. Raise ``DamagedCheckpoint``."""
    try:
        data = (folder / MANIFEST).read_bytes()
    except FileNotFoundError as error:
        raise DamagedCheckpoint(folder, f"{MANIFEST} is missing") from error
    except OSError as error:
        raise DamagedCheckpoint(folder, f"{MANIFEST} cannot be read: {error.strerror}") from error
    return decode_manifest(data, folder)


def _is_whole(entry: TensorEntry) -> bool:
    """Whether the chunks have as many elements as the tensor, and as many bytes as elements."""
    elements = [math.prod(chunk.sizes) for chunk in entry.chunks]
    spans = [chunk.stop - chunk.start for chunk in entry.chunks]
    item_bytes = ITEM_BYTES.get(entry.dtype, 0)
    return sum(elements) == math.prod(entry.shape) and spans == [
        count * item_bytes for count in elements
    ]
