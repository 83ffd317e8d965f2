"""MDS, the shards of mosaicml-streaming: ``index.json`` and files that begin with their offsets.

A shard (little-endian): u32 samples, u32 offsets[samples + 1], the writer's settings as JSON, the
samples. A sample: u32 length of each column whose size is not fixed, then the columns. Source: its
documentation, "Dataset Format", and streaming/base/format/mds in mosaicml/streaming. Hashes that
the index has are checked when the data set is indexed. A shard that is only there compressed, by
gzip or Zstandard, is one unit of many samples.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash

from headrace.data.errors import DamagedData, IndexRefused, NotADataset
from headrace.data.formats import members
from headrace.data.formats.format import Decode, Options, Scan, Unit
from headrace.data.formats.listing import inside
from headrace.data.formats.mds_columns import Column, column_of
from headrace.data.formats.source import Source

INDEX = "index.json"
INDEX_BYTES = 1 << 30
XXHASHES = {"xxh32", "xxh64", "xxh128", "xxh3_64", "xxh3_128"}
COLUMNS = ("column_names", "column_encodings", "column_sizes")


class Mds:
    """A sample is {column: value}: numbers, text, bytes, NumPy arrays; images as their files'
    bytes."""

    name = "mds"

    def claims(self, path: Path) -> bool:
        index = path / INDEX if path.is_dir() else path
        if index.name != INDEX:
            return False
        try:
            with Source(index) as source:
                head = source.read(0, min(1 << 16, source.size))
        except IndexRefused:
            return False
        return b'"shards"' in head and b'"version"' in head

    def scan(self, path: Path, options: Options) -> Scan:
        del options
        if not path.is_dir():
            raise IndexRefused(
                f"{path}: holds no samples",
                why="the shards lie beside it",
                remedy=f"give the folder of both: {path.parent}",
            )
        index = path / INDEX
        shards = _shards(index)
        files = [_file(shard, index, number) for number, shard in enumerate(shards)]
        columns = [_columns(shard, index, number) for number, shard in enumerate(shards)]
        if any(other != columns[0] for other in columns):
            raise NotADataset(index, "its shards have not the same columns")
        root = index.parent
        return Scan(
            files=[file.name for file in files],
            units=_units(root, files, shards),
            meta={
                "columns": columns[0] if columns else [],
                "packed": [file.name for file in files if file.is_packed],
            },
        )

    def decoder(self, meta: Mapping[str, Any]) -> Decode:
        columns = [
            Column(name, column_of(encoding), size) for name, encoding, size in meta["columns"]
        ]

        packed = frozenset(meta.get("packed", ()))

        def decode(data: memoryview, file: str, start: int) -> list[dict[str, Any]]:
            samples = _split(data, file, start) if file in packed else [data]
            try:
                return [_sample(sample, columns) for sample in samples]
            except (ValueError, KeyError, IndexError, ArithmeticError, RecursionError) as error:
                raise DamagedData(
                    Path(file),
                    f"a sample is not what its columns say: {error}",
                    start=start,
                    stop=start + len(data),
                ) from None

        return decode


def _shards(index: Path) -> list[dict[str, Any]]:
    with Source(index) as source:
        if source.size > INDEX_BYTES:
            raise NotADataset(index, f"an index of {source.size} bytes")
        text = source.read(0, source.size)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedData(index, f"it is not JSON: {error}", start=0, stop=len(text)) from None
    shards = found.get("shards") if isinstance(found, dict) else None
    if not isinstance(shards, list) or found.get("version") != 2:
        raise NotADataset(index, 'it is no index of MDS, version 2: no list "shards"')
    for number, shard in enumerate(shards):
        if not isinstance(shard, dict) or shard.get("format") != "mds":
            raise NotADataset(index, f"shard {number} is not in the format mds")
    return shards


class _File(NamedTuple):
    name: str
    is_packed: bool


def _file(shard: Mapping[str, Any], index: Path, number: int) -> _File:
    """The shard's file, which lies beside the index or below; the compressed one if that is all
    there is."""
    name = _basename(shard.get("raw_data"))
    if name is None:
        raise NotADataset(index, f"shard {number} has no raw_data with a basename")
    if inside(index.parent, name):
        return _File(name, is_packed=False)
    packed = _basename(shard.get("zip_data"))
    if packed is None or not inside(index.parent, packed):
        raise IndexRefused(
            f"{index}: shard {number}, {name!r}, is not here",
            why="every shard must lie in the folder of the index, or below it",
            remedy="copy the missing shards, or write the index again",
        )
    with Source(index.parent / packed) as source:
        if source.size and not members.is_packed(source.read(0, min(4, source.size))):
            raise IndexRefused(
                f"{source.path}: a shard compressed by {shard.get('compression')} is not read",
                why="gzip and Zstandard are unpacked here",
                remedy="unpack all shards beside it, or write them with compression='zstd'",
            )
    return _File(packed, is_packed=True)


def _basename(of: object) -> str | None:
    name = of.get("basename") if isinstance(of, dict) else None
    return os.path.normpath(name) if isinstance(name, str) else None


def _columns(shard: Mapping[str, Any], index: Path, number: int) -> list[list[Any]]:
    """[name, encoding, size or 0] of each column, all of which can be decoded."""
    names, encodings, sizes = (shard.get(key) for key in COLUMNS)
    if not (isinstance(names, list) and isinstance(encodings, list) and isinstance(sizes, list)):
        raise NotADataset(index, f"shard {number} has no lists {', '.join(COLUMNS)}")
    if not len(names) == len(encodings) == len(sizes) or len(set(map(str, names))) != len(names):
        raise NotADataset(index, f"the columns of shard {number} do not fit together")
    columns = []
    for name, encoding, size in zip(names, encodings, sizes, strict=True):
        size = size or 0
        if not (_is_text(name) and _is_text(encoding) and type(size) is int and size >= 0):
            raise NotADataset(index, f"a column of shard {number} has no name, encoding or size")
        try:
            column_of(encoding)
        except ValueError as error:
            raise IndexRefused(
                f"{index}: column {name!r} is encoded as {encoding!r}",
                why=str(error),
                remedy="write the column as bytes, json, ndarray, jpeg or png",
            ) from None
        columns.append([name, encoding, size])
    return columns


def _is_text(value: object) -> bool:
    """A string without the halves of characters that JSON lets through."""
    return isinstance(value, str) and value.encode("utf-8", "replace").decode("utf-8") == value


def _units(root: Path, files: list[_File], shards: list[dict[str, Any]]) -> Iterator[Unit]:
    for number, (file, shard) in enumerate(zip(files, shards, strict=True)):
        with Source(root / file.name) as source:
            if file.is_packed:
                _check(source, shard["zip_data"])
                held = _Held(source, shard["raw_data"].get("bytes"))
                offsets = _offsets(held, shard)
                if len(offsets) > 1:
                    yield Unit(number, 0, source.size, len(offsets) - 1)
            else:
                for start, stop in pairwise(_offsets(source, shard).tolist()):
                    yield Unit(number, start, stop - start)


class _Held:
    """What a compressed shard holds, with the face of a ``Source``. Damage is that of its file."""

    def __init__(self, source: Source, size: object) -> None:
        """Unpack it, but not much more than ``size`` bytes, what it is said to hold."""
        self._source = source
        self._data = bytearray()
        for member in members.members_of(source):
            self._data += member.data
            if not isinstance(size, int) or len(self._data) > size:
                break  # ``_check`` says so
        self.size = len(self._data)

    def read(self, start: int, size: int) -> bytes:
        if start + size > self.size:
            raise self.damaged(f"it holds {self.size} bytes")
        return bytes(self._data[start : start + size])

    def chunks(self) -> Iterator[bytearray]:
        yield self._data

    def damaged(self, why: str, start: int = 0, stop: int | None = None) -> DamagedData:
        del start, stop
        return self._source.damaged(why)


def _offsets(
    source: Source | _Held, shard: Mapping[str, Any]
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Where samples begin, and the last ends: int64[samples + 1], rising, within the file."""
    _check(source, shard["raw_data"])
    samples = int.from_bytes(source.read(0, 4), "little")
    if samples != shard.get("samples"):
        raise source.damaged(
            f"it has {samples} samples; the index says {shard.get('samples')}", 0, 4
        )
    table = 4 * (samples + 1)
    offsets = np.frombuffer(source.read(4, table), "<u4").astype(np.int64)
    begin = int(offsets[0])
    if begin < 4 + table or int(offsets[-1]) != source.size or bool((np.diff(offsets) < 0).any()):
        raise source.damaged("its offsets do not rise from its header to its end", 4, 4 + table)
    try:
        header = json.loads(source.read(4 + table, begin - 4 - table))
        same = all(header[key] == shard[key] for key in COLUMNS)
    except (ValueError, KeyError, TypeError, RecursionError):
        same = False
    if not same:
        raise source.damaged("its header has not the columns of the index", 4 + table, begin)
    return offsets


def _check(source: Source | _Held, file: Mapping[str, Any]) -> None:
    """Compare with size and hashes in the index, as far as their kinds are known."""
    if source.size != file.get("bytes"):
        raise source.damaged(f"it has {source.size} bytes; the index says {file.get('bytes')}")
    hashes = file.get("hashes")
    for kind, wanted in hashes.items() if isinstance(hashes, dict) else ():
        if kind in XXHASHES:
            digest = getattr(xxhash, kind)()
        elif kind in hashlib.algorithms_guaranteed and not kind.startswith("shake"):
            digest = hashlib.new(kind, usedforsecurity=False)
        else:
            continue
        for chunk in source.chunks():
            digest.update(chunk)
        if digest.hexdigest() != wanted:
            raise source.damaged(f"its {kind} is not that of the index")


def _split(data: memoryview, file: str, start: int) -> list[memoryview]:
    """The samples of a compressed shard, whose offsets were right when it was indexed."""
    shard = memoryview(b"".join(members.unpack(data, file, start)))
    offsets = np.frombuffer(shard, "<u4", int.from_bytes(shard[:4], "little") + 1, 4).tolist()
    return [shard[begin:end] for begin, end in pairwise(offsets)]


def _sample(data: memoryview, columns: list[Column]) -> dict[str, Any]:
    free = sum(not column.size for column in columns)
    lengths = iter(np.frombuffer(data[: 4 * free], "<u4").tolist())
    at = 4 * free
    sample = {}
    for column in columns:
        size = column.size or next(lengths, len(data) + 1)
        if at + size > len(data):
            raise ValueError(f"column {column.name!r} does not fit")
        sample[column.name] = column.decode(bytes(data[at : at + size]))
        at += size
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes belong to no column")
    return sample
