"""``manifest.json``: what a checkpoint holds, where each byte of it lies, and its hash.

The file is one line of JSON, ``{"xxh3_128":"<32 hex digits>","manifest":{...}}``, where the hash is
that of the bytes of the inner object as they stand. Described in
docs/reference/checkpoint-format.md. No torch: a login node can check a checkpoint.
"""

from collections.abc import Iterator
from pathlib import Path

import xxhash

from headrace.checkpoint.box import Box, cut, tile
from headrace.checkpoint.errors import DamagedCheckpoint
from headrace.core.records import DecodeError, Record, decode, encode

VERSION = 1
MANIFEST = "manifest.json"
CHUNK_BYTES = 64 << 20
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
_DIGITS = 32


class Chunk(Record, frozen=True, kw_only=True):
    """A box of a tensor, row-major, in bytes ``[start, stop)`` of ``file``."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: str
    start: int
    stop: int
    xxh3_128: str

    @property
    def box(self) -> Box:
        return Box(self.offsets, self.sizes)


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


class _Versioned(Record, frozen=True, kw_only=True):
    """What the manifest of any version has."""

    version: int


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

    @property
    def tensor_bytes(self) -> int:
        """Bytes of all tensors, tied ones once."""
        chunks = (chunk for entry in self.tensors.values() for chunk in entry.chunks)
        return sum(chunk.stop - chunk.start for chunk in chunks)


def chunk_of(box: Box, file: str, start: int, stop: int, digest: str) -> Chunk:
    return Chunk(
        offsets=box.offsets, sizes=box.sizes, file=file, start=start, stop=stop, xxh3_128=digest
    )


def cut_chunks(box: Box, dtype: str, start: int) -> Iterator[tuple[Box, int, int]]:
    """The chunks of a box whose bytes begin at ``start``: small enough that who needs a part of the
    box need not read and verify all of it."""
    item_bytes = ITEM_BYTES[dtype]
    for piece in cut(box, elements=CHUNK_BYTES // item_bytes):
        stop = start + piece.elements * item_bytes
        yield piece, start, stop
        start = stop


def seal(kind: str, body: bytes) -> bytes:
    """One line of JSON around ``body``, itself JSON, with its hash."""
    digest = xxhash.xxh3_128_hexdigest(body).encode()
    return _PREFIX + digest + _middle(kind) + body + b"}\n"


def unseal(kind: str, data: bytes) -> bytes | None:
    """The body, or None unless ``data`` is exactly what ``seal`` wrote."""
    body = data[len(_PREFIX) + _DIGITS + len(_middle(kind)) : -2]
    return body if data == seal(kind, body) else None


def _middle(kind: str) -> bytes:
    return f'","{kind}":'.encode()


def encode_manifest(manifest: Manifest) -> bytes:
    return seal("manifest", encode(manifest))


def decode_manifest(data: bytes, folder: Path) -> Manifest:
    """Raise ``DamagedCheckpoint`` unless ``data`` is exactly what ``encode_manifest`` wrote."""
    body = unseal("manifest", data)
    if body is None:
        raise DamagedCheckpoint(folder, f"the hash of {MANIFEST} differs")
    try:
        version = decode(body, _Versioned).version
        if version != VERSION:
            raise DamagedCheckpoint(
                folder, f"{MANIFEST} has version {version}; this Headrace reads {VERSION}"
            )
        manifest = decode(body, Manifest)
    except DecodeError as error:
        raise DamagedCheckpoint(folder, f"{MANIFEST} is not understood: {error}") from error
    fault = fault_of(manifest)
    if fault:
        raise DamagedCheckpoint(folder, fault)
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


def fault_of(manifest: Manifest) -> str:
    """What is wrong with a manifest as such; "" when it describes all of every tensor and file."""
    ranges: dict[str, list[tuple[int, int]]] = {name: [] for name in manifest.files}
    for name, entry in manifest.tensors.items():
        item_bytes = ITEM_BYTES.get(entry.dtype)
        if item_bytes is None:
            return f"{name} has the type {entry.dtype}, which is not known"
        for chunk in entry.chunks:
            if chunk.file not in ranges:
                return f"{name} lies in {chunk.file}, which is not listed"
            if chunk.stop - chunk.start != chunk.box.elements * item_bytes:
                return f"a chunk of {name} has another length than its bytes"
            ranges[chunk.file].append((chunk.start, chunk.stop))
        if not tile([chunk.box for chunk in entry.chunks], entry.shape):
            return f"the chunks of {name} are not all of it"
    for name, file in manifest.files.items():
        end = file.header_bytes
        if end < 0:
            return f"{name}: its header has {end} bytes"
        for start, stop in sorted(ranges[name]):
            if start != end:
                return f"{name}: a gap or an overlap at byte {end}"
            end = stop
        if end != file.size_bytes:
            return f"{name}: nothing is known of the bytes from {end} on"
    for alias, stored in manifest.aliases.items():
        if stored not in manifest.tensors or alias in manifest.tensors:
            return f"{alias} is tied to {stored}, which is not stored"
    return ""
