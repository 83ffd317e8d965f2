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
from typing import Any

import msgspec
import numpy as np
import xxhash

from headrace.data.atomic import written
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

_BLOCKS_KEPT = 512
Pieces = list[tuple[int, int, int]]


class PacksFile:
    """Raise ``DataNotFound``, ``NotADataset``, ``DamagedData``. Threads may share it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        file = DataFile(self.path)
        header = read_header(file)
        self.packs = header.samples
        self.fingerprint = header.fingerprint.hex()
        meta: Mapping[str, Any] = msgspec.json.decode(read_section(file, header, "meta"))
        self.window = int(meta["window"])
        self.made_for = str(meta["made_for"])
        self.fill_share = int(meta["tokens"]) / max(1, self.packs * (self.window + 1))
        self._blocks = Blocks(file, header, "packs")
        self._kept: OrderedDict[int, list[Pieces]] = OrderedDict()
        self._lock = threading.Lock()

    def pieces(self, pack: int) -> Pieces:
        """(document, start, stop) of each piece of a pack, in order."""
        number, within = divmod(pack, ROWS_PER_BLOCK)
        with self._lock:
            kept = self._kept.get(number)
            if kept is not None:
                self._kept.move_to_end(number)
                return kept[within]
        block = _decode(self._blocks.read(number), int(self._blocks.entries[number]["count"]))
        with self._lock:
            self._kept[number] = block
            while len(self._kept) > _BLOCKS_KEPT:
                self._kept.popitem(last=False)
        return block[within]


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


def _decode(data: bytes, count: int) -> list[Pieces]:
    ends = np.cumsum(np.frombuffer(data, "<u4", count), dtype=np.int64)
    pieces: Pieces = np.frombuffer(data, SEGMENT, offset=4 * count).tolist()
    return [
        pieces[start:stop]
        for start, stop in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)
    ]
