"""Small data sets in every format, what they hold, and a reader of one step after the other.

Tar, npy, Parquet, Arrow, gzip and Zstandard are written by their own libraries. MDS follows
"Dataset Format" in the documentation of mosaicml-streaming and MDSWriter.encode_joint_shard in
mosaicml/streaming; Megatron's index follows _IndexWriter in
megatron/core/datasets/indexed_dataset.py of NVIDIA/Megatron-LM.
"""

import gzip
import hashlib
import io
import json
import random
import struct
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
import zstandard

from headrace.data.formats import registry
from headrace.data.formats.format import Options, Scan, Unit
from headrace.data.formats.listing import located


@dataclass(frozen=True)
class Written:
    """A data set at ``path`` that holds ``samples``, in this order."""

    format: str
    path: Path
    samples: Sequence[Any]
    options: Options = field(default_factory=Options)


Write = Callable[[Path, random.Random, int], Written]
"""(empty folder, randomness, number of samples) -> a data set with about that many samples."""


def taken(path: Path, scan: Scan, units: Sequence[Unit]) -> list[bytes]:
    """The bytes of each unit."""
    found = []
    for unit in units:
        with located(path, scan.files[unit.file]).open("rb") as stream:
            stream.seek(unit.start)
            found.append(stream.read(unit.size))
    return found


def read(written: Written) -> list[Any]:
    """Scan, take the bytes of each unit, hash, check, decode: what index and reader do."""
    reader = registry.of_name(written.format)
    scan = reader.scan(written.path, written.options)
    units = list(scan.units)
    hashes = [xxhash.xxh3_64_digest(data) for data in taken(written.path, scan, units)]
    meta = json.loads(json.dumps(scan.meta))
    decode = reader.decoder(meta)
    samples: list[Any] = []
    for unit, data, wanted in zip(units, taken(written.path, scan, units), hashes, strict=True):
        assert xxhash.xxh3_64_digest(data) == wanted
        rows = decode(memoryview(data), scan.files[unit.file], unit.start)
        assert len(rows) == unit.rows
        samples += rows
    return samples


def plain(value: object) -> object:
    """Arrays as (type, nested lists), so that samples can be compared with ``==``."""
    if isinstance(value, np.ndarray | np.generic):
        return str(value.dtype), value.tolist()
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def words(rng: random.Random, most: int = 12) -> str:
    alphabet = 'abc é漢字🜚\t"\\/'
    return "".join(rng.choice(alphabet) for _ in range(rng.randrange(most)))


def write_tar(folder: Path, rng: random.Random, count: int) -> Written:
    """Two shards: one with short names, one with names that need extended headers."""
    samples: list[dict[str, Any]] = []
    shards = [("a.tar", tarfile.GNU_FORMAT), ("b.tar", tarfile.PAX_FORMAT)]
    for number, (name, layout) in enumerate(shards):
        with tarfile.open(folder / name, "w", format=layout) as tar:
            for i in range(number, count, 2):
                key = f"{'long/' * (30 * (i % 3))}é{i:06d}"
                sample = {"jpg": rng.randbytes(rng.randrange(2000)), "json": words(rng).encode()}
                for extension, data in sample.items():
                    info = tarfile.TarInfo(f"{key}.{extension}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
                samples.append({"__key__": key, **sample})
    return Written("tar", folder, samples)


MDS_COLUMNS = {
    "text": "str",
    "raw": "bytes",
    "n": "int",
    "half": "float16",
    "big": "str_int",
    "meta": "json",
    "any": "ndarray",
    "typed": "ndarray:uint16",
    "fixed": "ndarray:int32:2,3",
    "image": "jpeg",
}
MDS_SIZES = {"int": 8, "float16": 2, "ndarray:int32:2,3": 24}


def mds_shard(
    path: Path, samples: Sequence[Sequence[bytes]], columns: dict[str, str]
) -> dict[str, Any]:
    """Write one shard of encoded samples; return its entry for index.json."""
    sizes = [MDS_SIZES.get(encoding) for encoding in columns.values()]
    entry = {
        "column_encodings": list(columns.values()),
        "column_names": list(columns),
        "column_sizes": sizes,
        "compression": None,
        "format": "mds",
        "hashes": [],
        "size_limit": 1 << 26,
        "version": 2,
    }
    bodies = []
    for sample in samples:
        free = [len(part) for part, size in zip(sample, sizes, strict=True) if not size]
        bodies.append(struct.pack(f"<{len(free)}I", *free) + b"".join(sample))
    config = json.dumps(entry, sort_keys=True).encode()
    at = 4 + 4 * (len(samples) + 1) + len(config)
    offsets = [at]
    for body in bodies:
        offsets.append(offsets[-1] + len(body))
    head = struct.pack(f"<{len(offsets) + 1}I", len(samples), *offsets)
    data = head + config + b"".join(bodies)
    path.write_bytes(data)
    raw = {
        "basename": path.name,
        "bytes": len(data),
        "hashes": {"xxh64": xxhash.xxh64_hexdigest(data)},
    }
    return {**entry, "raw_data": raw, "samples": len(samples), "zip_data": None}


def write_mds(folder: Path, rng: random.Random, count: int) -> Written:
    samples: list[dict[str, Any]] = []
    encoded = []
    for _ in range(count):
        array = np.array([[rng.random() for _ in range(3)]], np.float32)
        row = np.array([rng.randrange(1 << 16) for _ in range(rng.randrange(1, 5))], np.uint16)
        fixed = np.array([[rng.randrange(9) for _ in range(3)] for _ in range(2)], np.int32)
        sample: dict[str, Any] = {
            "text": words(rng),
            "raw": rng.randbytes(rng.randrange(100)),
            "n": rng.randrange(-(1 << 40), 1 << 40),
            "half": np.float16(rng.randrange(100)),
            "big": rng.randrange(1 << 90),
            "meta": {"a": [1, words(rng)]},
            "any": array,
            "typed": row,
            "fixed": fixed,
            "image": rng.randbytes(20),
        }
        samples.append(sample)
        encoded.append(
            [
                sample["text"].encode(),
                sample["raw"],
                struct.pack("<q", sample["n"]),
                sample["half"].tobytes(),
                str(sample["big"]).encode(),
                json.dumps(sample["meta"]).encode(),
                bytes([34, 2 << 2, 1, 3]) + array.tobytes(),
                bytes([1 << 2, len(row)]) + row.tobytes(),
                fixed.tobytes(),
                sample["image"],
            ]
        )
    half = count // 2
    shards = [
        mds_shard(folder / "shard.00000.mds", encoded[:half], MDS_COLUMNS),
        mds_shard(folder / "shard.00001.mds", encoded[half:], MDS_COLUMNS),
    ]
    (folder / "index.json").write_text(json.dumps({"version": 2, "shards": shards}))
    return Written("mds", folder, samples)


def write_mds_packed(folder: Path, rng: random.Random, count: int) -> Written:
    """One shard by Zstandard, one by gzip, as with ``compression=`` of its writer."""
    written = write_mds(folder, rng, count)
    index = json.loads((folder / "index.json").read_text())
    packers: list[tuple[str, Callable[[bytes], bytes]]] = [
        ("zstd", zstandard.compress),
        ("gz", gzip.compress),
    ]
    for shard, (suffix, pack) in zip(index["shards"], packers, strict=True):
        raw = folder / shard["raw_data"]["basename"]
        packed = folder / f"{raw.name}.{suffix}"
        packed.write_bytes(data := pack(raw.read_bytes()))
        raw.unlink()
        shard["compression"] = suffix
        hashes = {"sha1": hashlib.sha1(data, usedforsecurity=False).hexdigest()}
        shard["zip_data"] = {"basename": packed.name, "bytes": len(data), "hashes": hashes}
    (folder / "index.json").write_text(json.dumps(index))
    return written


def table_rows(rng: random.Random, count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": i,
            "text": rng.choice([None, words(rng)]),
            "raw": rng.randbytes(rng.randrange(30)),
            "x": rng.random(),
            "ids": np.array([rng.randrange(1 << 30) for _ in range(rng.randrange(6))], np.int32),
            "deep": {"tags": [words(rng)], "ok": rng.random() < 0.5},
        }
        for i in range(count)
    ]


SCHEMA = pa.schema(
    {
        "id": pa.int64(),
        "text": pa.string(),
        "raw": pa.binary(),
        "x": pa.float64(),
        "ids": pa.list_(pa.int32()),
        "deep": pa.struct({"tags": pa.list_(pa.string()), "ok": pa.bool_()}),
    }
)


def write_parquet(folder: Path, rng: random.Random, count: int) -> Written:
    rows = table_rows(rng, count)
    half = count // 2
    for name, part in ((f"p{n}.parquet", p) for n, p in enumerate((rows[:half], rows[half:]))):
        table = pa.Table.from_pylist(part, SCHEMA)
        pq.write_table(table, folder / name, row_group_size=7, compression="zstd")
    return Written("parquet", folder, rows)


def write_arrow_stream(folder: Path, rng: random.Random, count: int) -> Written:
    rows = table_rows(rng, count)
    half = count // 2
    for number, part in enumerate((rows[:half], rows[half:])):
        table = pa.Table.from_pylist(part, SCHEMA)
        with pa.ipc.new_stream(folder / f"data-{number}.arrow", SCHEMA) as stream:
            stream.write_table(table, max_chunksize=7)
    return Written("arrow", folder, rows)


def write_arrow_file(folder: Path, rng: random.Random, count: int) -> Written:
    """With a dictionary and compressed."""
    rows = table_rows(rng, count)
    for row in rows:
        row["kind"] = rng.choice(["cat", "dog"])
    schema = SCHEMA.append(pa.field("kind", pa.dictionary(pa.int32(), pa.string())))
    path = folder / "data.arrow"
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    table = pa.Table.from_pylist(rows, schema)
    with pa.ipc.new_file(path, schema, options=options) as stream:
        stream.write_table(table, max_chunksize=7)
    return Written("arrow", path, rows)


def lines(rng: random.Random, count: int) -> list[dict[str, Any]]:
    return [{"id": i, "text": words(rng, 40), "x": [rng.random(), None]} for i in range(count)]


def write_jsonl(folder: Path, rng: random.Random, count: int) -> Written:
    """A byte order mark, both line ends, blank lines, and no line end at the end."""
    samples = lines(rng, count)
    text = "\ufeff"
    for sample in samples:
        text += json.dumps(sample, ensure_ascii=rng.random() < 0.5)
        text += rng.choice(["\n", "\r\n", "\n \n\n"])
    (folder / "lines.jsonl").write_bytes(text.rstrip("\r\n ").encode())
    return Written("jsonl", folder / "lines.jsonl", samples)


def _blocks(samples: Sequence[Any]) -> Iterator[bytes]:
    for start in range(0, len(samples), 5):
        block = samples[start : start + 5]
        yield "".join(json.dumps(sample) + "\n" for sample in block).encode()


def write_jsonl_gz(folder: Path, rng: random.Random, count: int) -> Written:
    samples = lines(rng, count)
    data = b"".join(gzip.compress(block, mtime=0) for block in _blocks(samples))
    (folder / "lines.jsonl.gz").write_bytes(data)
    return Written("jsonl", folder, samples)


def write_jsonl_zst(folder: Path, rng: random.Random, count: int) -> Written:
    samples = lines(rng, count)
    packer = zstandard.ZstdCompressor(write_checksum=True)
    skipped = b"\x50\x2a\x4d\x18" + struct.pack("<I", 3) + b"abc"
    data = skipped.join(packer.compress(block) for block in _blocks(samples))
    (folder / "lines.jsonl.zst").write_bytes(data)
    return Written("jsonl", folder, samples)


WINDOW = 8


def cut(tokens: Sequence[int], dtype: str, window: int = WINDOW) -> list[Any]:
    """Windows of a stream, as arrays."""
    starts = range(0, len(tokens) - window, window)
    return [np.array(tokens[at : at + window + 1], dtype) for at in starts]


def write_megatron(folder: Path, rng: random.Random, count: int, window: bool = True) -> Written:
    lengths: list[int] = []
    while sum(lengths) <= count * WINDOW:
        lengths.append(rng.randrange(20))
    stream = [rng.randrange(60_000) for _ in range(sum(lengths))]
    tokens = np.array(stream, np.uint16)
    tokens.tofile(folder / "text_document.bin")
    megatron_index(folder / "text_document.idx", 8, 2, lengths)
    if window:
        return Written("megatron", folder, cut(stream, "uint16"), Options(window=WINDOW))
    ends = np.cumsum(lengths)
    parts = [
        tokens[end - length : end] for end, length in zip(ends, lengths, strict=True) if length
    ]
    return Written("megatron", folder / "text_document.bin", parts)


def megatron_index(path: Path, code: int, width: int, lengths: Sequence[int]) -> None:
    pointers = np.concatenate(([0], np.cumsum(lengths)))[:-1] * width
    documents = np.arange(len(lengths) + 1)
    path.write_bytes(
        b"MMIDIDX\0\0"
        + struct.pack("<QBQQ", 1, code, len(lengths), len(documents))
        + np.array(lengths, "<i4").tobytes()
        + pointers.astype("<i8").tobytes()
        + documents.astype("<i8").tobytes()
    )


def write_megatron_sequences(folder: Path, rng: random.Random, count: int) -> Written:
    return write_megatron(folder, rng, count, window=False)


def write_npy(folder: Path, rng: random.Random, count: int) -> Written:
    samples = []
    for name in ("a.npy", "b.npy"):
        stream = [rng.randrange(1 << 20) for _ in range(count * WINDOW // 2 + 3)]
        np.save(folder / name, np.array(stream, np.int32))
        samples += cut(stream, "uint32")
    return Written("npy", folder, samples, Options(window=WINDOW, vocab=1 << 20))


def write_npy_rows(folder: Path, rng: random.Random, count: int) -> Written:
    array = np.array([[rng.randrange(500) for _ in range(9)] for _ in range(count)], np.uint16)
    np.save(folder / "rows.npy", array)
    return Written("npy", folder / "rows.npy", list(array))


def write_npy_floats(folder: Path, rng: random.Random, count: int) -> Written:
    values = [rng.random() for _ in range(count * 6)]
    array = np.array(values, np.float32).reshape(count, 2, 3)
    np.save(folder / "x.npy", array)
    return Written("npy", folder, list(array))


def write_raw(folder: Path, rng: random.Random, count: int) -> Written:
    stream = [rng.randrange(60_000) for _ in range(count * WINDOW + 1)]
    np.array(stream, np.uint16).tofile(folder / "train.bin")
    options = Options(window=WINDOW, dtype="uint16")
    return Written("raw", folder / "train.bin", cut(stream, "uint16"), options)


def write_images(folder: Path, rng: random.Random, count: int) -> Written:
    samples = []
    for label, kind in enumerate(("Zebra", "ant", "é")):
        (folder / kind / "deep").mkdir(parents=True)
        for i in range(count // 3):
            name = f"{kind}/deep/{i:04d}.JPG"
            data = rng.randbytes(rng.randrange(1, 500))
            (folder / name).write_bytes(data)
            samples.append({"image": data, "label": label, "name": name})
    return Written("images", folder, samples)


def write_text(folder: Path, rng: random.Random, count: int) -> Written:
    samples = []
    for i in range(count):
        text = words(rng) + "."
        (folder / f"{i:05d}.txt").write_bytes(text.encode())
        samples.append({"text": text, "name": f"{i:05d}.txt"})
    (folder / "empty.txt").touch()
    return Written("text", folder, samples)


WRITERS: dict[str, Write] = {
    "tar": write_tar,
    "mds": write_mds,
    "mds packed": write_mds_packed,
    "parquet": write_parquet,
    "arrow stream": write_arrow_stream,
    "arrow file": write_arrow_file,
    "jsonl": write_jsonl,
    "jsonl.gz": write_jsonl_gz,
    "jsonl.zst": write_jsonl_zst,
    "megatron": write_megatron,
    "megatron sequences": write_megatron_sequences,
    "npy": write_npy,
    "npy rows": write_npy_rows,
    "npy floats": write_npy_floats,
    "raw": write_raw,
    "images": write_images,
    "text": write_text,
}
