"""Documents: one text file a sample. For lines, use JSON lines; for tokens, pack or tokenise
them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headrace.data.formats.format import Decode, Options, Scan, Unit
from headrace.data.formats.listing import any_of, legible, listing, located
from headrace.data.formats.source import Source

SUFFIXES = (".txt", ".text", ".md", ".rst", ".html", ".htm", ".xml", ".tex", ".csv", ".tsv")


class Text:
    """A sample is {"text": str, "name": str}; bytes where a file is not UTF-8. A file of no bytes
    is no sample."""

    name = "text"

    def claims(self, path: Path) -> bool:
        return any_of(path, SUFFIXES)

    def scan(self, path: Path, options: Options) -> Scan:
        files = listing(path, SUFFIXES, options.glob)
        own = {} if path.is_dir() else {"name": legible(path.name)}
        return Scan(files=files, units=_files(path, files), meta=own)

    def decoder(self, meta: Mapping[str, Any]) -> Decode:
        def decode(data: memoryview, file: str, start: int) -> list[dict[str, Any]]:
            del start
            name = meta["name"] if file == "." else file
            return [{"text": _text(bytes(data)), "name": name}]

        return decode


def _files(path: Path, files: list[str]) -> Iterator[Unit]:
    for number, name in enumerate(files):
        with Source(located(path, name)) as source:
            if source.size:
                yield Unit(number, 0, source.size)


def _text(content: bytes) -> str | bytes:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content
