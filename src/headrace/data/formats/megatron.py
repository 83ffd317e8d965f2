"""Megatron-LM's indexed data sets: tokens in NAME.bin, where sequences begin in NAME.idx.

NAME.idx (little-endian): ``MMIDIDX\\0\\0``, u64 version 1, u8 code of the type, u64 sequences, u64
documents; then i32 length and i64 pointer (bytes into NAME.bin) of each sequence, i64 first
sequence of each document and the end; perhaps i8 mode of each sequence. Source: _IndexWriter in
megatron/core/datasets/indexed_dataset.py of NVIDIA/Megatron-LM.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.data.errors import IndexRefused, NotADataset
from headrace.data.formats import tokens
from headrace.data.formats.format import Decode, Options, Scan, Unit
from headrace.data.formats.listing import any_of, inside, listing
from headrace.data.formats.source import Source

MAGIC = b"MMIDIDX\0\0"
LEGACY = b"TNTIDX\0\0"
HEADER_BYTES = 34
TYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float64",
    7: "float32",
    8: "uint16",
}


class Pair(NamedTuple):
    """One NAME.idx with its NAME.bin; ``lengths`` in tokens, ``pointers`` in bytes."""

    name: str
    dtype: np.dtype[Any]
    lengths: NDArray[np.int64]
    pointers: NDArray[np.int64]


class Megatron:
    """With a window: rows of window + 1 tokens of each .bin from end to end. Without one: a sample
    is a sequence, an array of its tokens; empty ones are left out."""

    name = "megatron"

    def claims(self, path: Path) -> bool:
        if path.is_file() and path.suffix == ".bin":
            path = path.with_suffix(".idx")
        return any_of(path, (".idx",))

    def scan(self, path: Path, options: Options) -> Scan:
        if not path.is_dir() and path.suffix != ".bin":
            raise IndexRefused(
                f"{path}: holds no tokens",
                why="tokens lie in a .bin that has an .idx beside it",
                remedy=f"give the .bin, or the folder of both: {path.with_suffix('.bin')}",
            )
        root, indexes = path.parent, [path.with_suffix(".idx").name]
        if path.is_dir():
            root, indexes = path, _indexes(path, options.glob)
        pairs = [_pair(root, name) for name in indexes]
        for pair, name in zip(pairs, indexes, strict=True):
            if pair.dtype != pairs[0].dtype:
                why = f"its tokens are {pair.dtype}; those of {indexes[0]} are {pairs[0].dtype}"
                raise NotADataset(root / name, why)
        files = [pair.name for pair in pairs] if path.is_dir() else ["."]
        if options.window is None:
            return Scan(files=files, units=_sequences(pairs), meta={"dtype": pairs[0].dtype.str})
        window = tokens.window_of(path, options)
        if pairs[0].dtype.name in ("float32", "float64", "int8"):
            raise NotADataset(path, f"its values are {pairs[0].dtype}, which are no tokens")
        parts = [tokens.Stretch(n, 0, int(pair.lengths.sum())) for n, pair in enumerate(pairs)]
        stream = tokens.Stream(path, files, parts, pairs[0].dtype)
        return stream.windows(window, stride=window, vocab=options.vocab)

    def decoder(self, meta: Mapping[str, Any]) -> Decode:
        if "tokens" in meta:
            return tokens.row_decoder(meta)
        dtype = np.dtype(meta["dtype"])

        def decode(data: memoryview, file: str, start: int) -> list[Any]:
            del file, start
            return [np.frombuffer(data, dtype).copy()]

        return decode


def _indexes(path: Path, glob: str | None) -> list[str]:
    """Those in a folder; a glob may name either file of a pair."""
    chosen = [os.path.splitext(name) for name in listing(path, (".idx",), glob)]
    stems = dict.fromkeys(stem for stem, suffix in chosen if suffix in (".bin", ".idx"))
    if not stems:
        raise NotADataset(path, f"--glob {glob}: no .bin with an .idx")
    return [stem + ".idx" for stem in stems]


def _sequences(pairs: Sequence[Pair]) -> Iterator[Unit]:
    for number, pair in enumerate(pairs):
        width = pair.dtype.itemsize
        for start, length in zip(pair.pointers.tolist(), pair.lengths.tolist(), strict=True):
            if length:
                yield Unit(number, start, length * width)


def _pair(root: Path, index: str) -> Pair:
    """Read NAME.idx and hold it against the size of NAME.bin."""
    name = os.path.splitext(index)[0] + ".bin"
    if not inside(root, name):
        raise NotADataset(root / index, f"{name} is not beside it")
    with Source(root / index) as source:
        dtype, sequences, documents = _header(source)
        table = source.read(HEADER_BYTES, sequences * 12 + documents * 8)
    lengths = np.frombuffer(table, "<i4", sequences).astype(np.int64)
    pointers = np.frombuffer(table, "<i8", sequences, sequences * 4)
    ends = np.frombuffer(table, "<i8", documents, sequences * 12)
    place = (HEADER_BYTES, HEADER_BYTES + len(table))
    if bool((lengths < 0).any()):
        raise source.damaged("a sequence has a negative length", *place)
    wanted = np.concatenate(([0], np.cumsum(lengths * dtype.itemsize)))
    if not np.array_equal(pointers, wanted[:-1]):
        raise source.damaged("its sequences do not follow each other", *place)
    rising = documents == 0 or (
        ends[0] == 0 and ends[-1] == sequences and (np.diff(ends) >= 0).all()
    )
    if not rising:
        raise source.damaged("its documents are not made of its sequences", *place)
    with Source(root / name) as tokens_file:
        if tokens_file.size != wanted[-1]:
            why = f"it has {tokens_file.size} bytes; {index} says {wanted[-1]}"
            raise tokens_file.damaged(why)
    return Pair(name, dtype, lengths, pointers)


def _header(source: Source) -> tuple[np.dtype[Any], int, int]:
    """(type, sequences, documents); the tables that they promise are there, and nothing else."""
    head = source.read(0, min(HEADER_BYTES, source.size))
    if head.startswith(LEGACY):
        raise NotADataset(
            source.path, "it is of Megatron's old kind (TNTIDX); write it again as mmap"
        )
    if not head.startswith(MAGIC):
        raise NotADataset(source.path, "it does not begin as an index of Megatron does")
    if len(head) < HEADER_BYTES:
        raise source.damaged("its header is cut off")
    version, code = int.from_bytes(head[9:17], "little"), head[17]
    if version != 1 or code not in TYPES:
        raise NotADataset(source.path, f"it has version {version} and type {code}")
    sequences, documents = (int.from_bytes(head[at : at + 8], "little") for at in (18, 26))
    size = HEADER_BYTES + sequences * 12 + documents * 8
    if source.size not in (size, size + sequences):
        why = f"{sequences} sequences in {documents - 1} documents need {size} bytes"
        raise source.damaged(f"it has {source.size} bytes; {why}")
    return np.dtype(TYPES[code]).newbyteorder("<"), sequences, documents
