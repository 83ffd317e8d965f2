"""What GPFS's (Spectrum/Storage Scale's) tools print, as records. Pure.

``mmlsfs`` as text or, better, with -Y: colons between fields, percent codes within; ``mmlsattr``.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote

from headrace.cluster.storage.sizes import parse_number
from headrace.core.records import Record

_FLAGS = {"-B": "blockSize", "-f": "minFragmentSize", "-V": "filesystemVersion"}
_OFFLINE = re.compile(r"^Misc attributes:.*\bOFFLINE\b", re.MULTILINE)


class FileSystem(Record, frozen=True, kw_only=True):
    """Sizes are those of the largest pool where there are several."""

    block_bytes: int | None = None
    subblock_bytes: int | None = None
    version: str | None = None


def parse_y(text: str) -> Iterator[dict[str, str]]:
    """Rows of -Y output by the names of their header. Several kinds of row may be mixed."""
    heads: dict[tuple[str, str], list[str]] = {}
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) < 4:
            continue
        kind = (fields[0], fields[1])
        if fields[2] == "HEADER":
            heads[kind] = fields
        elif kind in heads:
            pairs = zip(heads[kind], fields, strict=False)
            yield {name: unquote(value) for name, value in pairs if name}


def parse_mmlsfs(text: str) -> FileSystem:
    """Either form. Empty when it is neither."""
    found: dict[str, list[str]] = {}
    for row in parse_y(text):
        if "fieldName" in row and "data" in row:
            found.setdefault(row["fieldName"], []).append(row["data"])
    for flag, value in re.findall(r"^\s*(-[A-Za-z])\s{2,}(.+?)(?:\s{2,}|$)", text, re.MULTILINE):
        if flag in _FLAGS:
            found.setdefault(_FLAGS[flag], []).append(value)
    versions = found.get("filesystemVersion", [])
    return FileSystem(
        block_bytes=_largest(found.get("blockSize", [])),
        subblock_bytes=_largest(found.get("minFragmentSize", [])),
        version=versions[0] if versions else None,
    )


def _largest(values: list[str]) -> int | None:
    return max((n for value in values if (n := parse_number(value)) is not None), default=None)


def is_offline(text: str) -> bool:
    """Whether ``mmlsattr -L`` says that the file's bytes were moved to tape or a cloud."""
    return _OFFLINE.search(text) is not None
