"""Write the tables of an index: units as they come, in bounded memory, then files and documents.

Blocks go to a temporary spool without a name first, since in a packed file the data come before
them; ``finish`` copies them behind whatever the file holds and writes the header last.
"""

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
import xxhash

from headrace.data.index import encode_documents, encode_names
from headrace.data.sections import HEADER_BYTES, ROWS_PER_BLOCK, BlockWriter, Header, Section
from headrace.data.units import Columns, encode_units

_COPY_BYTES = 4 << 20


class IndexWriter:
    """Use in a ``with``. ``folder`` is where the spool may lie.

    ``samples`` and ``units`` count what was added.
    """

    def __init__(self, folder: Path) -> None:
        self._spool: BinaryIO = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._units = BlockWriter(self._spool)
        self._names = BlockWriter(self._spool)
        self._documents = BlockWriter(self._spool)
        self._waiting: list[Columns] = []
        self._waiting_units = 0
        self._waiting_documents: list[tuple[int, int, str]] = []
        self._digest = xxhash.xxh3_128()
        self.samples = 0
        self.units = 0

    def __enter__(self) -> "IndexWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def add(self, units: Columns) -> None:
        """Append units, in the order of their samples."""
        hashed = [column.astype("<u8") for column in (units.sizes, units.rows, units.digests)]
        self._digest.update(np.stack(hashed, axis=1).tobytes())
        self._waiting.append(units)
        self._waiting_units += len(units.files)
        if self._waiting_units >= ROWS_PER_BLOCK:
            self._write_units(whole_blocks=True)

    def add_document(self, start: int, stop: int, name: str) -> None:
        """Tokens ``[start, stop)`` of the stream are the document ``name``."""
        self._waiting_documents.append((start, stop, name))
        if len(self._waiting_documents) == ROWS_PER_BLOCK:
            self._write_documents()

    def finish(
        self,
        out: BinaryIO,
        *,
        meta: Mapping[str, Any],
        files: Iterable[tuple[str, int]],
        root: bytes = b"",
        data_stop: int = 0,
    ) -> Header:
        """Write all tables at the end of ``out`` and the header at its beginning.

        ``data_stop``: where the data end that lie in ``out`` behind the header, else 0.
        """
        self._write_units(whole_blocks=False)
        self._write_documents()
        self._write_names(files, fingerprinted=not data_stop)
        text = msgspec.json.encode(meta, order="deterministic")
        self._digest.update(text)
        out.seek(0, 2)
        if out.tell() < HEADER_BYTES:
            out.write(bytes(HEADER_BYTES - out.tell()))
        base = out.tell()
        self._spool.seek(0)
        shutil.copyfileobj(self._spool, out, _COPY_BYTES)
        sections = {}
        for name, data in (
            ("units", self._units.directory(base)),
            ("files", self._names.directory(base)),
            ("docs", self._documents.directory(base)),
            ("meta", text),
            ("root", root),
        ):
            sections[name] = Section(out.tell(), len(data), xxhash.xxh3_128_digest(data))
            out.write(data)
        header = Header(
            file_bytes=out.tell(),
            samples=self.samples,
            units=self.units,
            data_start=HEADER_BYTES if data_stop else 0,
            data_stop=data_stop,
            fingerprint=self._digest.digest(),
            sections=sections,
        )
        out.seek(0)
        out.write(header.encode())
        return header

    def _write_units(self, *, whole_blocks: bool) -> None:
        if not self._waiting:
            return
        waiting = Columns(
            *(np.concatenate(columns) for columns in zip(*self._waiting, strict=True))
        )
        count = len(waiting.files)
        stop = count - count % ROWS_PER_BLOCK if whole_blocks else count
        for first in range(0, stop, ROWS_PER_BLOCK):
            block = waiting.cut(first, min(first + ROWS_PER_BLOCK, stop))
            self._units.add(encode_units(block), first=self.samples, count=len(block.files))
            self.samples += int(block.rows.sum())
            self.units += len(block.files)
        self._waiting = [waiting.cut(stop, count)] if stop < count else []
        self._waiting_units = count - stop

    def _write_names(self, files: Iterable[tuple[str, int]], *, fingerprinted: bool) -> None:
        number, block = 0, []
        for file in files:
            if fingerprinted:
                self._digest.update(f"{file[0]}\0{file[1]}\0".encode(errors="surrogateescape"))
            block.append(file)
            if len(block) == ROWS_PER_BLOCK:
                self._names.add(encode_names(block), first=number, count=len(block))
                number, block = number + len(block), []
        if block:
            self._names.add(encode_names(block), first=number, count=len(block))

    def _write_documents(self) -> None:
        if self._waiting_documents:
            waiting, self._waiting_documents = self._waiting_documents, []
            self._documents.add(encode_documents(waiting), first=waiting[0][0], count=len(waiting))
