"""The file that says which documents are in which pack: written once, read a block at a time.

The frame is that of an index (``sections``). Table ``packs`` has blocks of 256 packs: a u32 count
of pieces for each, then the pieces (``packing.SEGMENT``). Section ``meta`` is JSON: ``window``,
``tokens`` (that are no padding) and ``made_for``, which names the documents and how they were
packed.
"""

import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from headrace.data.atomic import written
from headrace.data.errors import NotADataset
from headrace.data.files import DataFile
from headrace.data.packing import SEGMENT, Packing
from headrace.data.sections import (
    HEADER_BYTES,
    ROWS_PER_BLOCK,
    Blocks,
    BlockWriter,
    Header,
    Section,
    read_header,
    read_section,
)

CACHE_BYTES = 32 << 20
Pieces = list[tuple[int, int, int]]


class _Block(NamedTuple):
    """Pack n of it is ``segments[ends[n]:ends[n + 1]]``; ``ends`` begins with 0."""

    ends: NDArray[np.int64]
    segments: NDArray[np.void]

    def pieces(self, within: int) -> Pieces:
        found: Pieces = self.segments[self.ends[within] : self.ends[within + 1]].tolist()
        return found

    @property
    def size_bytes(self) -> int:
        return self.ends.nbytes + self.segments.nbytes


class PacksFile:
    """Raise ``DataNotFound``, ``NotADataset``, ``DamagedData``. Threads may share it. Blocks of up
    to ``cache_bytes`` are kept, the latest used."""

    def __init__(self, path: str | Path, *, cache_bytes: int = CACHE_BYTES) -> None:
        self.path = Path(path)
        file = DataFile(self.path)
        header = read_header(file)
        self.packs = header.samples
        self.fingerprint = header.fingerprint.hex()
        meta: Mapping[str, Any] = msgspec.json.decode(read_section(file, header, "meta"))
        if meta.get("format") != "packs":
            raise NotADataset(self.path, "it is an index or a packed file, and no table of packs")
        self.window = int(meta["window"])
        self.made_for = str(meta["made_for"])
        self.fill_share = int(meta["tokens"]) / max(1, self.packs * (self.window + 1))
        self._blocks = Blocks(file, header, "packs")
        self._room_bytes = cache_bytes
        self._held_bytes = 0
        self._kept: OrderedDict[int, _Block] = OrderedDict()
        self._lock = threading.Lock()

    def pieces(self, pack: int) -> Pieces:
        """(document, start, stop) of each piece of a pack, in order."""
        number, within = divmod(pack, ROWS_PER_BLOCK)
        with self._lock:
            kept = self._kept.get(number)
            if kept is not None:
                self._kept.move_to_end(number)
                return kept.pieces(within)
        block = _decode(self._blocks.read(number), int(self._blocks.entries[number]["count"]))
        with self._lock:
            if number not in self._kept:
                self._kept[number] = block
                self._held_bytes += block.size_bytes
            while len(self._kept) > 1 and self._held_bytes > self._room_bytes:
                self._held_bytes -= self._kept.popitem(last=False)[1].size_bytes
        return block.pieces(within)


def write_packs(out: Path, packing: Packing, *, window: int, made_for: str) -> None:
    """Raise ``PackFailed``; a file that was there is then as it was."""
    count = len(packing.starts) - 1
    starts = packing.starts.astype(np.int64)
    sizes = packing.segments["stop"] - packing.segments["start"]
    meta = {"window": window, "tokens": int(sizes.sum(dtype=np.int64)), "made_for": made_for}
    with written(out) as file, tempfile.TemporaryFile(dir=out.parent) as spool:
        table = BlockWriter(spool)
        for first in range(0, count, ROWS_PER_BLOCK):
            bounds = starts[first : first + ROWS_PER_BLOCK + 1]
            data = np.diff(bounds).astype("<u4").tobytes()
            data += packing.segments[bounds[0] : bounds[-1]].tobytes()
            table.add(data, first=first, count=len(bounds) - 1)
        file.write(bytes(HEADER_BYTES))
        spool.seek(0)
        shutil.copyfileobj(spool, file)
        digest = xxhash.xxh3_128(made_for.encode())
        digest.update(packing.starts.tobytes())
        digest.update(packing.segments.tobytes())
        sections = {}
        for name, data in (
            ("packs", table.directory(HEADER_BYTES)),
            ("meta", msgspec.json.encode({**meta, "format": "packs"})),
        ):
            sections[name] = Section(file.tell(), len(data), xxhash.xxh3_128_digest(data))
            file.write(data)
        header = Header(
            file_bytes=file.tell(),
            samples=count,
            units=len(packing.segments),
            data_start=0,
            data_stop=0,
            fingerprint=digest.digest(),
            sections=sections,
        )
        file.seek(0)
        file.write(header.encode())


def _decode(data: bytes, count: int) -> _Block:
    ends = np.zeros(count + 1, np.int64)
    np.cumsum(np.frombuffer(data, "<u4", count), out=ends[1:])
    return _Block(ends, np.frombuffer(data, SEGMENT, offset=4 * count))
