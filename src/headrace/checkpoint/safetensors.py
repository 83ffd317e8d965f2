"""Files of safetensors that others wrote: their headers, read with suspicion. No torch.

Format: an 8-byte little-endian length, a JSON header, the tensors' bytes without gaps
(huggingface/safetensors, README, "Format"). What a header says is believed only where it fits the
file: names once, known types, every byte of the file in exactly one tensor.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.checkpoint.errors import BadSafetensors
from headrace.checkpoint.manifest import ITEM_BYTES
from headrace.checkpoint.shard import Placed

HEADER_LIMIT_BYTES = 100_000_000  # as the format's own library has it
METADATA = "__metadata__"


@dataclass(frozen=True)
class Header:
    """``tensors``: in the order of their bytes; ``data_start``: where the first one lies."""

    tensors: tuple[Placed, ...]
    data_start: int


def read_header(path: Path) -> Header:
    """Raise ``BadSafetensors`` unless the whole file is what its header says."""
    try:
        with path.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if size_bytes < 8 or length > min(HEADER_LIMIT_BYTES, size_bytes - 8):
                raise BadSafetensors(path, f"a header of {length} bytes does not fit into it")
            text = file.read(length)
    except OSError as error:
        raise BadSafetensors(path, error.strerror or str(error)) from error
    start = 8 + length
    tensors = sorted(_tensors(path, text), key=lambda one: (one.start, one.stop))
    end = 0
    for tensor in tensors:
        if tensor.start != end:
            raise BadSafetensors(path, f"a gap or an overlap before {tensor.name!r}")
        end = tensor.stop
    if start + end != size_bytes:
        raise BadSafetensors(path, f"it has {size_bytes} bytes, its header says {start + end}")
    return Header(tuple(tensors), start)


def _tensors(path: Path, text: bytes) -> list[Placed]:
    try:
        header = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise BadSafetensors(path, f"its header is not JSON: {error}") from error
    if not isinstance(header, dict) or not text.startswith(b"{"):
        raise BadSafetensors(path, "its header is no JSON object")
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise BadSafetensors(path, f"{METADATA} holds more than strings")
    return [_tensor(path, name, entry) for name, entry in header.items()]


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _tensor(path: Path, name: str, entry: object) -> Placed:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [start, stop], **more}:
            if more or not all(_is_size(number) for number in (*shape, start, stop)):
                raise BadSafetensors(path, f"the entry of {name!r} is not understood")
        case _:
            raise BadSafetensors(path, f"the entry of {name!r} is not understood")
    if dtype not in ITEM_BYTES:
        raise BadSafetensors(path, f"{name!r} has the type {dtype}, which is not known")
    if stop - start != math.prod(shape) * ITEM_BYTES[dtype]:
        raise BadSafetensors(
            path, f"{name!r} has {stop - start} bytes, not those of {dtype}{shape}"
        )
    return Placed(name, dtype, tuple(shape), start, stop)


def _is_size(number: object) -> bool:
    return type(number) is int and 0 <= number < 1 << 63
